"""Who can do what: the kernel asked, sudo asked, and what the product says of it."""
