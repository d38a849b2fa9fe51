package audit

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func writeLog(t *testing.T, dir string, n int, text string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(old(dir, n), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func line(cause string) string {
	return string((&Entry{Event: Grant, Cause: cause, Time: now}).appendTo(nil))
}

var now = Entry{}.Time.AddDate(2025, 0, 0)

func TestReadInOrder(t *testing.T) {
	dir := newDir(t)
	if entries, damaged := read(t, dir); len(entries)+len(damaged) != 0 {
		t.Error("a log that is not there has lines")
	}
	writeLog(t, dir, 4, line("a")+line("b"))
	writeLog(t, dir, 2, line("c")) // 3 was removed by hand
	writeLog(t, dir, 1, "")
	writeLog(t, dir, 0, line("d")+line("e"))
	entries, damaged := read(t, dir)
	if got := causes(entries); got != "a b c d e" || len(damaged) > 0 {
		t.Errorf("%s, damaged %q", got, damaged)
	}
	n := 0
	if err := Read(dir, func(Line) bool { n++; return n < 2 }); err != nil || n != 2 {
		t.Errorf("read %d lines, %v, when told to stop at 2", n, err)
	}
}

func TestReadDamaged(t *testing.T) {
	dir := newDir(t)
	writeLog(t, dir, 1, line("a")+"{\"time\":\"20")
	writeLog(t, dir, 0, "\n"+line("b")+"\x00\xff\nnull\n{}\n"+strings.Repeat("x", 3*maxLine)+"\n"+line("c")+`{"event":"grant","time":5}`+"\n"+line("d"))
	entries, damaged := read(t, dir)
	if got := causes(entries); got != "a b c d" {
		t.Errorf("%s", got)
	}
	const bad = ": not a line of the audit log"
	want := "audit.jsonl.1:2" + bad + " audit.jsonl:1" + bad + " audit.jsonl:3" + bad + " audit.jsonl:4" + bad + " audit.jsonl:5" + bad + " audit.jsonl:6" + bad + " audit.jsonl:8" + bad
	if got := strings.Join(damaged, " "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// A later version's line has keys that this one does not know.
func TestReadLaterVersion(t *testing.T) {
	dir := newDir(t)
	writeLog(t, dir, 0, `{"time":"2026-01-02T03:04:05Z","event":"helper","names":["A"],"host":"github.com"}`+"\n")
	entries, damaged := read(t, dir)
	if len(damaged) > 0 || len(entries) != 1 || entries[0].Event != "helper" || entries[0].Names[0] != "A" {
		t.Errorf("%+v %q", entries, damaged)
	}
}

// Who follows sees each line once and in order, through files that are turned
// over, from two writers.
func TestFollow(t *testing.T) {
	const each = 500
	dir := newDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var running sync.WaitGroup
	var got [2][]string
	seen := make(chan struct{}, 2*each) // one for each line
	running.Go(func() {
		err := Follow(ctx, dir, func(l Line) bool {
			if l.Err != nil {
				t.Error(l.Err)
				return true
			}
			writer, i, _ := strings.Cut(l.Entry.Cause, "-")
			w, _ := strconv.Atoi(writer)
			got[w] = append(got[w], i)
			seen <- struct{}{}
			return true
		})
		if err != nil {
			t.Error(err)
		}
	})
	for w := range 2 {
		running.Go(func() {
			f := &file{dir: dir, max: 20 << 10, keep: Keep, wait: time.Minute}
			defer f.close()
			for i := range each {
				text := [][]byte{[]byte(line(fmt.Sprintf("%d-%d", w, i)))}
				if _, err := f.append(text); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 * each {
		<-seen
	}
	cancel()
	running.Wait()
	for w, causes := range got {
		for i, cause := range causes {
			if cause != strconv.Itoa(i) {
				t.Fatalf("writer %d: line %d is %s", w, i, cause)
			}
		}
	}
	if _, err := os.Stat(old(dir, 2)); err != nil {
		t.Errorf("the log was not turned over: %v", err)
	}
}

// A line that comes in two pieces is one.
func TestFollowHalfLines(t *testing.T) {
	dir := newDir(t)
	text := line("whole")
	writeLog(t, dir, 0, text[:10])
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := &reader{dir: dir, f: func(l Line) bool {
		if l.Err != nil || l.Entry.Cause != "whole" {
			t.Errorf("%+v", l)
		}
		cancel()
		return true
	}}
	defer r.close()
	if goOn, err := r.all(); !goOn || err != nil || ctx.Err() != nil {
		t.Fatalf("half a line: %v, %v", goOn, err)
	}
	f, err := os.OpenFile(Path(dir), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text[10:]); err != nil {
		t.Fatal(err)
	}
	if goOn, err := r.all(); !goOn || err != nil || ctx.Err() == nil {
		t.Errorf("the whole line: %v, %v", goOn, err)
	}
}
