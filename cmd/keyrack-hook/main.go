// Command keyrack-hook is the part of keyrack that a shell which can't ask the daemon
// itself starts before each command line inside a worksite. It belongs beside keyrack, which serves
// the hook itself where this program is missing, only slower.
package main

import (
	"os"
	"strings"

	"keyrack/cmd/client"
)

func main() {
	args := os.Args[1:]
	if len(args) == 0 || args[0] != "__hook" {
		args = []string{""}
	}
	os.Exit(client.Run(beside(), args[1:]))
}

// beside is the path of the keyrack program that was installed with this one,
// "" where the system does not tell.
func beside() string {
	exe, err := os.Executable()
	if err != nil {
		return ""
	}
	return exe[:strings.LastIndexByte(exe, '/')+1] + "keyrack"
}
