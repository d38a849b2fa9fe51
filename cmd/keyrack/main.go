// Command keyrack gives each command the secrets of the project that it runs in.
package main

import (
	"os"

	"keyrack/cmd"
)

func main() { os.Exit(cmd.Main()) }
