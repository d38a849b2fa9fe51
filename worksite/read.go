package worksite

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// maxSize bounds a worksite's file, in bytes.
const maxSize = 64 << 10

// Read reads and checks the file of the worksite at root, an absolute path, once:
// the bytes that Digest is of are the bytes that were parsed. Every error about
// the file is an *Error.
func Read(root string) (*Site, error) { return reread(root, nil) }

// Reread is Read of the same root. Where the file's bytes are still the same, it
// returns s and spares the parsing.
func (s *Site) Reread() (*Site, error) { return reread(s.Root, s) }

func reread(root string, known *Site) (*Site, error) {
	path := filepath.Join(root, FileName)
	// The file is opened below the canonical directory, so that what is approved
	// for a directory was read there.
	dir, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, &Error{Path: path, Text: reason(err)}
	}
	raw, err := readFile(filepath.Join(dir, FileName))
	if err != nil {
		return nil, &Error{Path: path, Text: err.Error()}
	}
	if known != nil && known.dir == dir && bytes.Equal(known.raw, raw) {
		return known, nil
	}
	return parse(root, dir, raw)
}

// readFile reads a file that only its user could have written.
//
// A symbolic link is followed: the file that it leads to is the one that is
// checked, and the approval is of its bytes, so a link gives nobody a way in that
// a copy would not. Repositories and dotfile managers do link such files. The
// first stat keeps a link from opening a device, which may act on it; the second
// is of the file that was opened, and alone counts. Opening never blocks, not
// even on a FIFO that takes the file's place in between.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, errors.New(reason(err))
	}
	if err := checkFile(info, path); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, errors.New(reason(err))
	}
	defer file.Close()
	if info, err = file.Stat(); err != nil {
		return nil, errors.New(reason(err))
	}
	if err := checkFile(info, path); err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return nil, errors.New(reason(err))
	}
	if len(raw) > maxSize {
		return nil, fmt.Errorf("over %d KiB", maxSize>>10)
	}
	return raw, nil
}

// checkFile refuses what somebody else may have written.
func checkFile(info fs.FileInfo, path string) error {
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	if !owned(info) {
		return errors.New("belongs to another user")
	}
	if perm := info.Mode().Perm(); perm&0o022 != 0 {
		return fmt.Errorf("others may write it (mode %03o): chmod go-w %s", perm, filepath.Base(path))
	}
	return nil
}

// owned says whether the user, or root, owns a file.
func owned(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && (st.Uid == 0 || int(st.Uid) == os.Geteuid())
}

// reason is an error of the file system without the path, which stands before it.
func reason(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return err.Error()
}

// parse makes a site of its file's bytes.
func parse(root, dir string, raw []byte) (*Site, error) {
	s := &Site{
		Root: root, dir: dir, raw: raw, Digest: sha256.Sum256(raw),
		text:   strings.TrimPrefix(string(raw), "\ufeff"),
		Export: ExportCommand,
	}
	if f, bad := badCharacter(s.text); bad {
		return nil, s.locate(f)
	}
	tree, err := scan(s.text)
	if err == nil {
		var values map[string]any
		if values, err = decode(s.text); err == nil {
			err = s.take(tree, values)
		}
	}
	if f, ok := errors.AsType[fault](err); ok {
		return nil, s.locate(f)
	}
	return s, err
}

// badCharacter finds the first character that TOML has nowhere.
func badCharacter(text string) (f fault, bad bool) {
	for at, r := range text {
		switch {
		case r == '\t', r == '\n', r == '\r' && strings.HasPrefix(text[at:], "\r\n"):
		case r < ' ', r == 0x7f:
			return fault{at, fmt.Sprintf("control character 0x%02x", r)}, true
		case r == utf8.RuneError && !strings.HasPrefix(text[at:], "\ufffd"):
			return fault{at, fmt.Sprintf("not UTF-8: byte 0x%02x", text[at])}, true
		}
	}
	return fault{}, false
}

// decode gives the values of a text that scan has accepted. The library's
// messages may quote values, so none is passed on.
func decode(text string) (values map[string]any, err error) {
	defer func() {
		if recover() != nil {
			err = fault{0, "not TOML"}
		}
	}()
	_, err = toml.Decode(text, &values)
	if e, ok := errors.AsType[toml.ParseError](err); ok {
		what := "not a TOML value"
		if strings.Contains(e.Message, "already") {
			what = "this key stands here for the second time"
		}
		// The library's column is wrong for some errors, its offset is right.
		at := min(max(e.Position.Start, 0), len(text))
		if at > 0 && strings.ContainsRune(`"'`, rune(text[at-1])) {
			at--
		}
		return nil, fault{at, what}
	}
	if err != nil {
		return nil, fault{0, "not TOML"}
	}
	return values, nil
}

// duration reads a ttl.
func duration(word string) (time.Duration, bool) {
	d, err := time.ParseDuration(word)
	return d, err == nil && d > 0
}
