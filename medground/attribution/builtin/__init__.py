"""Our own methods. Every module here is imported when methods are listed; none imports torch before it is run."""
