package cmd

import (
	"os"
	"regexp"
	"testing"

	"keyrack/shells"
	"keyrack/worksite"
)

// What a worksite may ask for is what the hook exports: neither list of names has
// one that the other has not. The names tried are all that stand in the two
// files, and what begins with them.
func TestForbiddenNamesAreOneList(t *testing.T) {
	word := regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`)
	refused := 0
	for _, file := range []string{"../shells/change.go", "../worksite/name.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range word.FindAllString(string(text), -1) {
			for _, name := range []string{found, found + "X", found + "_X"} {
				asks, exports := worksite.CheckSecretName(name) == nil, shells.ValidName(name)
				if asks != exports {
					t.Errorf("%s: a worksite may ask for it: %v, the hook exports it: %v", name, asks, exports)
				}
				if !exports {
					refused++
				}
			}
		}
	}
	if refused < 100 {
		t.Errorf("%d names were refused: are the lists where they were?", refused)
	}
}
