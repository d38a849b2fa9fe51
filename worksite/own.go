package worksite

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// OwnHelper is a row of [[helper]] in the person's own config: one that counts
// wherever a tool runs, with the secrets of a worksite that it names.
type OwnHelper struct {
	Helper
	Site *Site
}

// OwnHelpers reads the rows of the config at path, an absolute one; without a config
// there are none. "~/" stands for home. What else stands in the file is not looked at.
// Every error about the file is an *Error, those of worksites that it names too.
func OwnHelpers(path, home string) ([]OwnHelper, error) {
	raw, err := readFile(path)
	if _, missing := os.Stat(path); errors.Is(missing, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &Error{Path: path, Text: err.Error()}
	}
	text := strings.TrimPrefix(string(raw), "\ufeff")
	rows, err := ownHelpers(text, home)
	if f, ok := errors.AsType[fault](err); ok {
		return nil, located(path, text, f)
	}
	return rows, err
}

func ownHelpers(text, home string) (rows []OwnHelper, err error) {
	if f, bad := badCharacter(text); bad {
		return nil, f
	}
	tree, err := scan(text)
	if err != nil {
		return nil, err
	}
	values, err := decode(text)
	n := tree.index["helper"]
	if err != nil || n == nil {
		return nil, err
	}
	tables, err := helperRows(n, values["helper"])
	if err != nil {
		return nil, err
	}
	for i, table := range tables {
		row, err := ownHelper(n.items[i], table, home)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// ownHelper reads one row: the key worksite, and those of a row of that worksite.
func ownHelper(n *node, table map[string]any, home string) (row OwnHelper, err error) {
	at := n.index["worksite"]
	if at == nil {
		return row, fault{n.key, `a helper in your own config needs worksite = "~/…": whose secrets it gives`}
	}
	dir, err := text(at, table["worksite"])
	if err != nil {
		return row, err
	}
	if rest, ok := strings.CutPrefix(dir, "~/"); ok {
		dir = filepath.Join(home, rest)
	}
	if !filepath.IsAbs(dir) {
		return row, fault{at.value, `worksite is a directory: "/…" or "~/…"`}
	}
	if row.Site, err = Read(filepath.Clean(dir)); err != nil {
		if e, ok := errors.AsType[*Error](err); ok && e.Line == 0 {
			return row, fault{at.value, "worksite: " + e.Error()}
		}
		return row, err
	}
	others := *n
	others.keys = slices.DeleteFunc(slices.Clone(n.keys), func(k *node) bool { return k == at })
	row.Helper, err = row.Site.helper(&others, table)
	return row, err
}
