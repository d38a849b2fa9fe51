//go:build !linux

package main

import (
	"os"
	"syscall"
)

func try([]string) error { return syscall.ENOSYS }

// old runs a program as it is: this system has no Landlock anyway.
func old(argv []string) error { return syscall.Exec(argv[0], argv, os.Environ()) }
