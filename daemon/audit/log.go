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
	keepQueue = 256                    // entries whose room is kept for the next ones
	gather    = 50 * time.Millisecond  // how long lines wait for others to be written with
	closeTime = 400 * time.Millisecond // how long the last lines may take
)

// Log takes entries and writes them in the background: who adds one never waits,
// whatever becomes of the disk. What can't be written is dropped and counted; of a
// process that is killed the lines of its last moment are lost. A nil *Log drops
// everything, uncounted.
type Log struct {
	out     sink
	writing chan struct{} // holds one token while somebody writes
	lines   [][]byte      // of who writes, as is text
	text    []byte
	timer   *time.Timer // due when lines have waited long enough

	mu     sync.Mutex
	queue  []Entry
	spare  []Entry // empty
	closed bool
	unsaid uint64 // dropped, and not yet said in a line
	lost   uint64 // dropped in all
	err    error  // why the last lines were not written
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
	l := &Log{out: out, err: err, writing: make(chan struct{}, 1)}
	l.timer = time.AfterFunc(time.Hour, func() {
		l.writing <- struct{}{}
		l.write()
	})
	l.timer.Stop()
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
	l.queue = append(l.queue, e)
	if len(l.queue) == 1 {
		l.timer.Reset(gather)
	}
}

var errSlow = errors.New("the disk does not keep up")

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

// Flush returns when all that was added before is written or dropped, or ctx ends.
func (l *Log) Flush(ctx context.Context) error {
	if l == nil {
		return nil
	}
	select {
	case l.writing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.write()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close writes what is left, in bounded time, and ends the log.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if err := l.Flush(ctx); err != nil {
		return errSlow
	}
	l.timer.Stop()
	_, err := l.Health()
	return err
}

// write writes what waits. The caller has put the token into writing, which write
// takes out again.
func (l *Log) write() {
	defer func() { <-l.writing }()
	for {
		batch, closed := l.take()
		if len(batch) > 0 {
			l.commit(batch)
			continue
		}
		if closed {
			l.out.close()
		}
		return
	}
}

// take takes what waits.
func (l *Log) take() (batch []Entry, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	batch, l.queue, l.spare = l.queue, l.spare, nil
	if len(batch) > 0 {
		batch[0].Dropped, l.unsaid = l.unsaid, 0
	} else {
		l.spare = batch
	}
	return batch, l.closed
}

// commit writes a batch and counts what it could not.
func (l *Log) commit(batch []Entry) {
	written, err := l.out.append(l.encode(batch))
	l.mu.Lock()
	defer l.mu.Unlock()
	if written == 0 {
		l.unsaid += batch[0].Dropped
	}
	left := uint64(len(batch) - written)
	l.unsaid += left
	l.lost += left
	l.err = err
	if cap(batch) <= keepQueue {
		clear(batch)
		l.spare = batch[:0]
	}
}

// encode makes the lines of a batch, which are good until the next one's.
func (l *Log) encode(batch []Entry) [][]byte {
	if cap(l.text) > maxPiece {
		l.text = nil
	}
	l.text, l.lines = l.text[:0], l.lines[:0]
	for i := range batch {
		start := len(l.text)
		l.text = batch[i].appendTo(l.text)
		l.lines = append(l.lines, l.text[start:])
	}
	return l.lines
}

// Append writes one entry to the log in dir, for a process that is not the daemon.
func Append(dir string, e Entry) error {
	e.Time = time.Now()
	f := &file{dir: dir, max: MaxSize, keep: Keep}
	defer f.close()
	_, err := f.append([][]byte{e.appendTo(nil)})
	return err
}
