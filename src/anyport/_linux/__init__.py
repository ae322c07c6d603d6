"""What Linux offers, one file per header or manual page, in the kernel's own spelling."""
