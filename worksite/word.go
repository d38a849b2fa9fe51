package worksite

import (
	"path/filepath"
	"syscall"
	"time"
)

// Word is what a store said about a site, and from which state of the files. The
// zero Word does not stand.
type Word struct {
	Approval
	site, record stamp
	began        time.Time
	firm         bool
}

// stamp tells one state of a file from another, without reading it.
type stamp struct {
	path   string
	follow bool // a symbolic link
	state
}

type state struct {
	there             bool
	dev, ino          uint64
	size              int64
	modified, changed int64 // when its content changed last, and anything of it
	mode, uid         uint32
}

// settled is how long ago a file must have changed for its stamp to mean one state:
// a file that is written twice within one tick of its file system's clock has the
// same stamp after both, and the coarsest clock that is trusted here ticks every
// second. fresh is how long a stamp is trusted at all: what a program writes into
// memory that it has mapped may change a file without its times.
const (
	settled = 3 * time.Second
	fresh   = time.Second
)

// Review reads the site at root, which may be known in an earlier state, and says
// how the person stands to it, with what it takes to know for how long that is so.
func (st Store) Review(root string, known *Site) (*Site, Word, error) {
	// The stamps come first: what changes while the files are read has others later.
	w := Word{began: time.Now(), site: stampOf(filepath.Join(root, FileName), true)}
	s, err := reread(root, known)
	if err != nil {
		return nil, Word{}, err
	}
	w.record = stampOf(filepath.Join(st.Dir, fileOf(s.dir)), false)
	w.Approval = st.Check(s)
	w.firm = w.site.meansOneState(w.began) && w.record.meansOneState(w.began) && local(root) && local(st.Dir)
	return s, w, nil
}

// Stands says whether Review would say the same: none of the files has changed.
// Where it can't be sure of that by their stamps it says no.
func (w Word) Stands() bool {
	return w.firm && time.Since(w.began) < fresh && w.site.same() && w.record.same()
}

func stampOf(path string, follow bool) stamp {
	return stamp{path, follow, stateOf(path, follow)}
}

func stateOf(path string, follow bool) state {
	var st syscall.Stat_t
	err := syscall.Lstat(path, &st)
	if follow && err == nil && st.Mode&syscall.S_IFMT == syscall.S_IFLNK {
		err = syscall.Stat(path, &st)
	}
	if err != nil {
		return state{}
	}
	modified, changed := times(&st)
	return state{
		there: true, dev: uint64(st.Dev), ino: st.Ino, size: st.Size, mode: uint32(st.Mode), uid: st.Uid,
		modified: modified, changed: changed,
	}
}

func (s stamp) same() bool { return stateOf(s.path, s.follow) == s.state }

// meansOneState says whether every later change would give another stamp than this
// one, which was taken after now.
func (s stamp) meansOneState(now time.Time) bool {
	return s.there && now.UnixNano()-max(s.changed, s.modified) >= int64(settled)
}
