package audit

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Bounds of what waits to be written. A daemon that can't write keeps no more.
const (
	maxQueue  = 4096
	gather    = 5 * time.Millisecond   // how long lines are gathered: grants are answered meanwhile
	closeTime = 400 * time.Millisecond // how long the last lines may take
)

// Log takes entries and writes them in the background: who adds one never waits,
// whatever becomes of the disk. What can't be written is dropped and counted. A
// nil *Log drops everything, uncounted.
type Log struct {
	out  sink
	wake chan struct{}
	done chan struct{} // closed when the writer has ended

	mu     sync.Mutex
	queue  []Entry
	closed bool
	unsaid uint64 // dropped, and not yet said in a line
	lost   uint64 // dropped in all
	err    error  // why the last lines were not written
	writes uint64 // entries taken from the queue and written or dropped
	added  uint64
	moved  chan struct{} // closed, and replaced, whenever writes has grown
	hurry  bool          // somebody waits: gather no longer
}

// sink is where lines go. append says how many of lines are there for good.
type sink interface {
	append(lines [][]byte) (int, error)
	close()
}

// Open returns the log in dir, which is made where it is missing. A log that can't
// be written is one too: see Health.
func Open(dir string) *Log {
	f := &file{dir: dir, max: MaxSize, keep: Keep}
	return open(f, f.prepare())
}

func open(out sink, err error) *Log {
	l := &Log{out: out, err: err, wake: make(chan struct{}, 1), done: make(chan struct{}), moved: make(chan struct{})}
	go l.write()
	return l
}

// Add takes e for the log, with the time of now. It never waits for the disk.
func (l *Log) Add(e Entry) {
	if l == nil {
		return
	}
	e.Time = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.queue) >= maxQueue {
		l.unsaid++
		l.lost++
		if l.err == nil {
			l.err = errSlow
		}
		return
	}
	l.added++
	l.queue = append(l.queue, e)
	if len(l.queue) == 1 {
		l.nudge()
	}
}

var errSlow = errors.New("the disk does not keep up")

func (l *Log) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Health tells how many lines were dropped since the log was opened, and why the
// last ones were: nil where they are written.
func (l *Log) Health() (dropped uint64, err error) {
	if l == nil {
		return 0, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost, l.err
}

// Flush waits until all that was added before is written or dropped.
func (l *Log) Flush(ctx context.Context) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	until := l.added
	l.hurry = true
	l.nudge()
	for l.writes < until {
		moved := l.moved
		l.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
		l.mu.Lock()
	}
	l.hurry = false
	l.mu.Unlock()
	return nil
}

// Close writes what is left, in bounded time, and ends the log.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	l.closed, l.hurry = true, true
	l.nudge()
	l.mu.Unlock()
	select {
	case <-l.done:
	case <-time.After(closeTime):
		return errSlow
	}
	_, err := l.Health()
	return err
}

// write is the one writer.
func (l *Log) write() {
	defer close(l.done)
	defer l.out.close()
	for range l.wake {
		l.gather()
		for {
			batch, closed := l.take()
			if len(batch) == 0 {
				if closed {
					return
				}
				break
			}
			l.commit(batch)
		}
	}
}

// gather lets more lines come, unless somebody waits for those that are there.
func (l *Log) gather() {
	l.mu.Lock()
	hurry := l.hurry
	l.mu.Unlock()
	if hurry {
		return
	}
	timer := time.NewTimer(gather)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.wake: // Flush or Close
		l.nudge()
	}
}

// take takes what waits.
func (l *Log) take() (batch []Entry, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	batch, l.queue = l.queue, nil
	if len(batch) > 0 {
		batch[0].Dropped, l.unsaid = l.unsaid, 0
	}
	return batch, l.closed
}

// commit writes a batch and counts what it could not.
func (l *Log) commit(batch []Entry) {
	lines := make([][]byte, len(batch))
	for i, e := range batch {
		lines[i] = e.line()
	}
	written, err := l.out.append(lines)
	l.mu.Lock()
	defer l.mu.Unlock()
	if written == 0 {
		l.unsaid += batch[0].Dropped
	}
	left := uint64(len(batch) - written)
	l.unsaid += left
	l.lost += left
	l.err = err
	l.writes += uint64(len(batch))
	close(l.moved)
	l.moved = make(chan struct{})
}

// Append writes one entry to the log in dir, for a process that is not the daemon.
func Append(dir string, e Entry) error {
	e.Time = time.Now()
	f := &file{dir: dir, max: MaxSize, keep: Keep}
	defer f.close()
	_, err := f.append([][]byte{e.line()})
	return err
}
