package testscripts

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The scripts of one row of docs/cases.md: its last column.
var rowScripts = regexp.MustCompile(`(?m)^\|(.*)\|(.*)\|$`)

// TestCases holds docs/cases.md to the scripts: each case has a row, and each row
// names scripts that are there.
func TestCases(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/cases.md")
	if err != nil {
		t.Fatal(err)
	}
	cases := map[int]bool{}
	for _, row := range rowScripts.FindAllStringSubmatch(string(text), -1) {
		if strings.HasPrefix(row[2], "---") || strings.TrimSpace(row[2]) == "scripts" {
			continue
		}
		first, _, _ := strings.Cut(row[1], "|")
		for _, number := range strings.Split(first, ",") {
			if n, err := strconv.Atoi(strings.TrimSpace(number)); err == nil {
				cases[n] = true
			}
		}
		for _, name := range strings.Split(row[2], ",") {
			name = strings.TrimSpace(name)
			if strings.HasPrefix(name, "cases ") {
				continue
			}
			pattern := "testdata/shell/" + name + ".txtar"
			if strings.HasPrefix(name, "script/") {
				pattern = "testdata/" + name + ".txtar"
			}
			found, err := filepath.Glob(pattern)
			if err != nil || found == nil {
				t.Errorf("docs/cases.md names %q, which is no script", name)
			}
		}
	}
	for n := 1; n <= 52; n++ {
		if !cases[n] {
			t.Errorf("docs/cases.md has no row for case %d", n)
		}
	}
}
