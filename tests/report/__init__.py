"""Plans in every form that CI reads."""
