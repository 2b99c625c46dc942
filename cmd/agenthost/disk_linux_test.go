package main

import "syscall"

// mountMemory mounts a filesystem in memory, with options such as "size=1m" or
// "ro,size=1m".
func mountMemory(dir, options string) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", 0, options)
}

func unmount(dir string) error { return syscall.Unmount(dir, syscall.MNT_DETACH) }
