package cmd

import "fmt"

// secretFile fails: macOS has no file that is in memory alone.
func secretFile(name string, _ []byte) (path string, err error) {
	return "", fmt.Errorf(`%s: as = "file" needs memfd_create(2), which macOS has not`, name)
}
