"""A forward proxy as companies run them: it joins clients to hosts and sees names, no content."""
