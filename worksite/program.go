package worksite

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// MaxProgram bounds a file whose content is part of an approval, in bytes.
const MaxProgram = 64 << 20

// Programs are the files that the commands of the site name, and the SHA-256 of
// each: by the word that names it, as Sum has them. What is not there, has none.
func (s *Site) Programs() (map[string]string, error) {
	var sums map[string]string
	for _, secret := range s.Secrets {
		for _, text := range secret.From {
			source, err := ParseSource(text)
			if err != nil {
				continue // it can't be used, and says so itself
			}
			for i, word := range source.Argv() {
				sum, err := Sum(s.dir, word, i == 0, nil)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", Visible(word), err)
				}
				if sum != "" {
					if sums == nil {
						sums = map[string]string{}
					}
					sums[word] = sum
				}
			}
		}
	}
	return sums, nil
}

// ChangedPrograms are the words, sorted, that commands of both sites name and whose
// files are others: was are the Programs of before, which may be nil, is of now.
func ChangedPrograms(before, now *Site, was, is map[string]string) (changed []string) {
	if before == nil {
		return nil
	}
	old := before.words()
	for _, word := range now.words() {
		if was[word] != is[word] && slices.Contains(old, word) {
			changed = append(changed, word)
		}
	}
	slices.Sort(changed)
	return slices.Compact(changed)
}

// words are all words of the site's commands.
func (s *Site) words() (words []string) {
	for _, secret := range s.Secrets {
		for _, text := range secret.From {
			source, _ := ParseSource(text) // of one that can't be used there are none
			words = append(words, source.Argv()...)
		}
	}
	return words
}

// Sum is the SHA-256 of the file that a word of a command names, seen from the
// directory dir, "" for a word that names none: a program that is looked for in
// PATH, which is what the first word is without a slash, or an argument that is no
// regular file. What it reads it hands to keep, where that is not nil, with the
// file. A file that is not regular is an error for a program.
func Sum(dir, word string, program bool, keep func(*os.File) (io.Writer, error)) (string, error) {
	if program && !strings.Contains(word, "/") || word == "" {
		return "", nil
	}
	path := word
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	file, err := openRegular(path)
	switch {
	case err == nil:
	case !program, errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return "", nil
	default:
		return "", errors.New(reason(err))
	}
	defer file.Close()
	tooBig := fmt.Errorf("over %d MiB", MaxProgram>>20)
	if info, err := file.Stat(); err == nil && info.Size() > MaxProgram {
		return "", tooBig // what it would take to read it is spared
	}
	var also io.Writer = io.Discard
	if keep != nil {
		if also, err = keep(file); err != nil {
			return "", errors.New(reason(err))
		}
	}
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(hash, also), io.LimitReader(file, MaxProgram+1))
	if n > MaxProgram {
		return "", tooBig
	}
	if err != nil {
		return "", errors.New(reason(err))
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

var errNotRegular = errors.New("not a regular file")

// openRegular opens a regular file. Nothing else is opened that could act on it.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	if info, err = file.Stat(); err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
