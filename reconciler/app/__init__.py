"""What can be asked of reconciler, without a screen."""
