// K tells a test what a child process sees of a worksite's secrets, without
// ever printing one: it knows the values of the running script by digest.
//
//	K            prints K=2 where two variables hold a secret of this script
//	K -l         prints K=2 W.ALPHA W.BETA, the labels sorted
//	K NAME...    prints NAME=W.ALPHA, NAME=unset, or NAME=(text) for other text
//	K -e         prints the names of all environment variables, sorted
//	NAME ...     under another name: adds a line NAME:AB to the file KT_SEEN, the initials of
//	             the variables that hold a secret, sorted
//	K -try WHAT  attacks: prints "WHAT: " and the kernel's answer, or done (try_linux.go)
//	K -old PATH  runs a program where the kernel has no Landlock
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	known, err := labels(os.Getenv("KT_SECRETS"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "K:", err)
		os.Exit(1)
	}
	args := os.Args[1:]
	if name := filepath.Base(os.Args[0]); name != "K" {
		if err := note(name, known); err != nil {
			fmt.Fprintln(os.Stderr, "K:", err)
			os.Exit(1)
		}
		return
	}
	switch {
	case len(args) == 0:
		fmt.Printf("K=%d\n", len(held(known)))
	case args[0] == "-l":
		found := held(known)
		fmt.Println(strings.Join(append([]string{fmt.Sprintf("K=%d", len(found))}, found...), " "))
	case args[0] == "-try" && len(args) > 1:
		err := try(args[1:])
		if err == nil {
			err = errors.New("done")
		}
		fmt.Printf("%s: %v\n", args[1], err)
	case args[0] == "-old" && len(args) > 1:
		fmt.Fprintln(os.Stderr, "K:", old(args[1:]))
		os.Exit(1)
	case args[0] == "-e":
		fmt.Println(strings.Join(names(), "\n"))
	default:
		for _, name := range args {
			fmt.Printf("%s=%s\n", name, describe(known, name))
		}
	}
}

// note adds a line to the file KT_SEEN, whole, whoever else does at the same time.
func note(name string, known map[string]string) error {
	var initials []string
	for _, label := range held(known) {
		_, secret, _ := strings.Cut(label, ".")
		initials = append(initials, secret[:1])
	}
	file, err := os.OpenFile(os.Getenv("KT_SEEN"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(name + ":" + strings.Join(initials, "") + "\n")
	return errors.Join(err, file.Close())
}

// labels reads lines of the form "DIGEST LABEL".
func labels(file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	known := map[string]string{}
	for line := range strings.Lines(string(text)) {
		digest, label, ok := strings.Cut(strings.TrimSpace(line), " ")
		if ok {
			known[digest] = label
		}
	}
	return known, nil
}

func digest(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}

// held returns the labels of the secrets in the environment, sorted.
func held(known map[string]string) []string {
	var found []string
	for _, pair := range os.Environ() {
		_, value, _ := strings.Cut(pair, "=")
		if label, ok := known[digest(value)]; ok {
			found = append(found, label)
		}
	}
	slices.Sort(found)
	return found
}

func names() []string {
	var all []string
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func describe(known map[string]string, name string) string {
	value, ok := os.LookupEnv(name)
	if !ok {
		return "unset"
	}
	if label, ok := known[digest(value)]; ok {
		return label
	}
	if strings.Contains(value, "canary-") {
		return "(part of a secret)"
	}
	return "(" + value + ")"
}
