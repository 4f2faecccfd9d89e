"""Every property of both schemas changed on a running platform: the system follows, or says why not."""
