"""The book: what notebooks show of themselves, how they are executed, and the site that is made of them."""
