package testscripts

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
)

// Every secret that a script makes looks like this, so that one pattern finds
// it wherever it must not be: canary-SITE-NAME-0123456789abcdef.
var canary = regexp.MustCompile(`canary-(\w+)-(\w+)-[0-9a-f]{16}`)

func newSecret(site, name string) string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	return fmt.Sprintf("canary-%s-%s-%x", site, name, random)
}

// register lets K know a value by its digest.
func (w *world) register(label string, value []byte) error {
	sum := sha256.Sum256(value)
	f, err := os.OpenFile(w.secrets(), os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(f, "%s %s\n", hex.EncodeToString(sum[:]), label); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// mask replaces values by their names, for logs.
func mask(text string) string { return canary.ReplaceAllString(text, "<$1.$2>") }
