package worksite

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Approval is the person's word on a worksite.
type Approval int

// Unknown is the word on what nobody has approved in this state of its file.
const (
	Unknown Approval = iota
	Allowed
	Denied
)

// Store keeps approvals in Dir, one file for each canonical directory, so that
// approvals of different worksites never meet. An approval holds the approved
// file, never a value of a secret. Whatever can't be read, or somebody else could
// have written, is no approval.
type Store struct{ Dir string }

// record is the file of one directory. Root is quoted as Go does: a path need
// not be UTF-8.
type record struct {
	Version int       `json:"version"`
	Root    string    `json:"root"`
	State   string    `json:"state"`
	Time    time.Time `json:"time"`
	Name    string    `json:"name,omitempty"`
	SHA256  string    `json:"sha256,omitempty"`
	File    string    `json:"file,omitempty"`

	Programs map[string]string `json:"programs,omitempty"` // as Site.Programs has them
}

const (
	recordVersion = 1
	stateAllowed  = "allowed"
	stateDenied   = "denied"
	maxRecord     = 1 << 20
)

// Check says how the person stands to exactly this state of the site.
func (st Store) Check(s *Site) Approval {
	r, err := st.load(s.dir)
	switch {
	case err != nil:
		return Unknown
	case r.State == stateDenied:
		return Denied
	case r.State == stateAllowed && r.SHA256 == hex.EncodeToString(s.Digest[:]):
		return Allowed
	}
	return Unknown
}

// Denied says whether the person has denied the directory root, whatever its file
// holds now.
func (st Store) Denied(root string) bool {
	dir, err := filepath.EvalSymlinks(root)
	if err != nil {
		return false
	}
	r, err := st.load(dir)
	return err == nil && r.State == stateDenied
}

// Allow approves this state of the site in place of any other, and the files that
// its commands name as they are now.
func (st Store) Allow(s *Site) error {
	programs, err := s.Programs()
	if err != nil {
		return err
	}
	return st.AllowWith(s, programs)
}

// AllowWith is Allow with the files as Programs returned them.
func (st Store) AllowWith(s *Site, programs map[string]string) error {
	return st.save(s.dir, record{
		State: stateAllowed, Name: s.Name, SHA256: hex.EncodeToString(s.Digest[:]), File: string(s.raw), Programs: programs,
	})
}

// Programs are the files that the commands of exactly this state of the site name,
// as they were approved. It is nil where the state is not approved.
func (st Store) Programs(s *Site) map[string]string {
	r, err := st.load(s.dir)
	if err != nil || r.State != stateAllowed || r.SHA256 != hex.EncodeToString(s.Digest[:]) {
		return nil
	}
	if r.Programs == nil {
		return map[string]string{}
	}
	return r.Programs
}

// LastPrograms are those of the last approval, whatever state of the file it was of.
func (st Store) LastPrograms(s *Site) map[string]string {
	r, err := st.load(s.dir)
	if err != nil || r.State != stateAllowed {
		return nil
	}
	return r.Programs
}

// Deny is DenyRoot for the root of s.
func (st Store) Deny(s *Site) error { return st.save(s.dir, record{State: stateDenied}) }

// DenyRoot denies every state of the worksite at root until Allow. Its file need
// not be readable.
func (st Store) DenyRoot(root string) error {
	dir, err := filepath.EvalSymlinks(root)
	if err != nil {
		return err
	}
	return st.save(dir, record{State: stateDenied})
}

// Last is the state of the site that was approved last, nil where there is none
// or it can't be understood any more.
func (st Store) Last(s *Site) *Site {
	r, err := st.load(s.dir)
	if err != nil || r.State != stateAllowed {
		return nil
	}
	sum := sha256.Sum256([]byte(r.File))
	if r.SHA256 != hex.EncodeToString(sum[:]) {
		return nil
	}
	last, err := parse(s.Root, s.dir, []byte(r.File))
	if err != nil {
		return nil
	}
	return last
}

// Others lists, sorted, the other directories that are approved under the name of
// s and still have a worksite's file.
func (st Store) Others(s *Site) []string {
	entries, err := os.ReadDir(st.Dir)
	if err != nil {
		return nil
	}
	var roots []string
	for _, entry := range entries {
		r, root, err := st.read(entry.Name())
		if err != nil || r.State != stateAllowed || r.Name != s.Name || root == s.dir {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, FileName)); err == nil {
			roots = append(roots, root)
		}
	}
	slices.Sort(roots)
	return roots
}

// Kept is one word that a store keeps, and how it stands to what is there now. File
// is where it is kept. Gone says that Root has no worksite's file any more, Changed
// that the file is not the one that was approved. Err is why the word does not
// count, with nothing else known.
type Kept struct {
	File    string
	Root    string
	Denied  bool
	Gone    bool
	Changed bool
	Err     error
}

// All lists what the store keeps, sorted by directory. No store is an empty one.
func (st Store) All() ([]Kept, error) {
	entries, err := os.ReadDir(st.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Kept
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".json") {
			all = append(all, st.kept(entry.Name()))
		}
	}
	slices.SortFunc(all, func(a, b Kept) int { return cmp.Or(strings.Compare(a.Root, b.Root), strings.Compare(a.File, b.File)) })
	return all, nil
}

func (st Store) kept(name string) Kept {
	k := Kept{File: filepath.Join(st.Dir, name)}
	r, root, err := st.read(name)
	if err != nil {
		k.Err = err
		return k
	}
	k.Root, k.Denied = root, r.State == stateDenied
	if _, err := os.Stat(filepath.Join(root, FileName)); errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		k.Gone = true
	} else if !k.Denied {
		s, err := Read(root)
		k.Changed = err != nil || r.SHA256 != hex.EncodeToString(s.Digest[:])
	}
	return k
}

// fileOf is the name of the file for a canonical directory.
func fileOf(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return hex.EncodeToString(sum[:]) + ".json"
}

func (st Store) load(dir string) (record, error) {
	r, root, err := st.read(fileOf(dir))
	if err == nil && root != dir {
		err = errors.New("an approval of another directory")
	}
	return r, err
}

// read reads the record in the file called name, and the directory that it is of.
func (st Store) read(name string) (r record, root string, err error) {
	if !strings.HasSuffix(name, ".json") {
		return r, "", errors.New("no approval")
	}
	if err := st.checkDir(); err != nil {
		return r, "", err
	}
	file, err := os.OpenFile(filepath.Join(st.Dir, name), os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return r, "", err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return r, "", err
	}
	if err := checkFile(info, name); err != nil {
		return r, "", err
	}
	data, err := io.ReadAll(io.LimitReader(file, maxRecord))
	if err != nil {
		return r, "", err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, "", err
	}
	if r.Version != recordVersion {
		return r, "", fmt.Errorf("an approval of version %d", r.Version)
	}
	if root, err = strconv.Unquote(r.Root); err == nil && fileOf(root) != name {
		err = errors.New("an approval under another directory's name")
	}
	return r, root, err
}

// checkDir refuses a directory in which somebody else could put approvals.
func (st Store) checkDir() error {
	info, err := os.Lstat(st.Dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return &fs.PathError{Op: "approvals", Path: st.Dir, Err: errors.New("not a directory")}
	case !owned(info):
		return &fs.PathError{Op: "approvals", Path: st.Dir, Err: errors.New("belongs to another user")}
	case info.Mode().Perm()&0o022 != 0:
		return &fs.PathError{Op: "approvals", Path: st.Dir, Err: errors.New("others may write it")}
	}
	return nil
}

// save replaces the record of dir in one step: whoever reads sees the old one or
// the new one, also after a crash.
func (st Store) save(dir string, r record) (err error) {
	r.Version, r.Root, r.Time = recordVersion, strconv.Quote(dir), time.Now().UTC().Truncate(time.Second)
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(st.Dir, 0o700); err != nil {
		return err
	}
	if err := st.checkDir(); err != nil {
		return err
	}
	file, err := os.CreateTemp(st.Dir, ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(file.Name())
		}
	}()
	_, err = file.Write(append(data, '\n'))
	if err == nil {
		err = file.Sync()
	}
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(file.Name(), filepath.Join(st.Dir, fileOf(dir)))
	}
	if err != nil {
		return err
	}
	return syncDir(st.Dir)
}

// syncDir makes a rename in dir last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
