package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"keyrack/daemon/arena"
	"keyrack/worksite"
)

// toolTime bounds one run of a tool.
const toolTime = 30 * time.Second

// Tools asks the sources other than the rack. Values go from the processes that
// have them straight into the arena. Methods may be called at the same time.
type Tools struct {
	Reader  Opener // starts the process that reads files
	Runner  *Runner
	Arena   *arena.Arena
	Environ []string      // what tools may see, besides the others'
	Limit   time.Duration // of one tool, 0 for half a minute
}

// Got is what came of one source: a value, which the caller frees, or why there is
// none. Until is when the source ends the value, counted from the system's start
// with suspend, 0 where it does not say.
type Got struct {
	Value arena.Block
	Until time.Duration
	Err   *Problem
}

// Problem is why a source has no value. Absent says that the source works and has
// none of the name, Down that it can't be had: in both cases another source may
// stand in. Text is one line for people, and holds nothing that the tool put out
// as a value.
type Problem struct {
	Text         string
	Absent, Down bool
}

func (p *Problem) Error() string { return p.Text }

// about makes a problem of s.
func about(s worksite.Source, format string, args ...any) *Problem {
	return &Problem{Text: worksite.Visible(s.String()) + ": " + fmt.Sprintf(format, args...)}
}

func absentAt(s worksite.Source, format string, args ...any) *Problem {
	p := about(s, format, args...)
	p.Absent = true
	return p
}

func down(s worksite.Source, format string, args ...any) *Problem {
	p := about(s, format, args...)
	p.Down = true
	return p
}

// Ask gets the values of one of Batches' batches, in its order.
func (t Tools) Ask(ctx context.Context, place Place, batch []worksite.Source) []Got {
	row := toolOf(batch[0].Scheme)
	limit := t.Limit
	if limit == 0 {
		limit = toolTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if row.argv == nil {
		return t.read(ctx, place, batch)
	}
	one := t.run(ctx, row, place, batch[0], limit)
	got := []Got{one}
	for range batch[1:] {
		again := Got{Until: one.Until, Err: one.Err}
		if again.Err == nil {
			again = t.keep(batch[0], one.Value.Bytes())
		}
		got = append(got, again)
	}
	return got
}

// keep copies a value into a block of its size.
func (t Tools) keep(s worksite.Source, value []byte) Got {
	block, err := t.Arena.Copy(value)
	if err != nil {
		return Got{Err: about(s, "%v", err)}
	}
	return Got{Value: block}
}

// read has keyrack itself read the file of a batch.
func (t Tools) read(ctx context.Context, place Place, batch []worksite.Source) []Got {
	got := make([]Got, len(batch))
	q := request{verb: verbFields, site: place.file(batch[0].Path), value: []byte(batch[0].Scheme)}
	for _, s := range batch {
		q.names = append(q.names, s.Field)
	}
	answered := make([]bool, len(batch))
	err := t.Reader.ask(ctx, q, func(r io.Reader, h answerHead) error {
		if int(h.index) >= len(batch) || answered[h.index] {
			return errMalformed
		}
		answered[h.index] = true
		return t.field(r, h, batch[h.index], &got[h.index])
	})
	for i := range batch {
		if answered[i] && err == nil {
			continue
		}
		t.Arena.Free(got[i].Value)
		got[i] = Got{Err: t.failed(ctx, batch[i], err)}
	}
	return got
}

// field reads the answer for one field.
func (t Tools) field(r io.Reader, h answerHead, s worksite.Source, got *Got) error {
	switch h.kind {
	case answerValue:
		block, err := t.Arena.Alloc(int(h.size))
		if err != nil {
			return err
		}
		got.Value = block
		_, err = io.ReadFull(r, block.Bytes())
		return err
	case answerProblem:
		problem, err := readProblem(r, h)
		if err != nil {
			return err
		}
		got.Err = about(s, "%v", problem)
		got.Err.Absent = errors.Is(problem, ErrNotFound)
		return nil
	}
	return errMalformed
}

// failed is the problem of a source whose process did not answer.
func (t Tools) failed(ctx context.Context, s worksite.Source, err error) *Problem {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return down(s, "no answer in time")
	case ctx.Err() != nil:
		return down(s, "gave up")
	case err == nil:
		return about(s, "%v", errMalformed)
	}
	return about(s, "%v", err)
}

// run gets the value of s from its tool.
func (t Tools) run(ctx context.Context, row *tool, place Place, s worksite.Source, limit time.Duration) Got {
	argv := row.fill(s, place)
	for _, word := range row.argv {
		if word == "{identity}" && place.Identity == "" {
			return Got{Err: down(s, `there is no identity to open it with: age_identity = "FILE" in keyrack's config.toml names one`)}
		}
	}
	p, err := t.start(job{argv: argv, env: row.environ(t.Environ), dir: place.Dir, limit: limit})
	if err != nil {
		return Got{Err: down(s, "%v", err)}
	}
	defer p.end()
	over := context.AfterFunc(ctx, p.end)
	defer over()
	out, said, o, err := p.collect(t.Arena)
	defer t.Arena.Free(said)
	defer t.Arena.Free(out)
	switch {
	case ctx.Err() != nil:
		return Got{Err: t.failed(ctx, s, nil)}
	case err != nil:
		return Got{Err: about(s, "%s: %v", argv[0], err)}
	case o.Missing:
		return Got{Err: down(s, "%s is not installed, or not in the PATH that the daemon was started with: %s", argv[0], row.get)}
	case o.Problem != "":
		return Got{Err: down(s, "running %s: %s", argv[0], o.Problem)}
	case o.Code != 0:
		return Got{Err: row.explain(s, o.Code, said.Bytes(), out.Bytes())}
	}
	value := row.value(s, out.Bytes())
	if row.listing && string(value) == strings.TrimSuffix(s.Path, "/") {
		return Got{Err: absentAt(s, "it is a directory")}
	}
	return t.keep(s, value)
}

// value is the part of a tool's output that is the value.
func (t *tool) value(s worksite.Source, out []byte) []byte {
	if t.firstLine != "" && t.firstLine != s.Field {
		out, _, _ = bytes.Cut(out, []byte("\n"))
		return out
	}
	return bytes.TrimSuffix(out, []byte("\n"))
}

// explain words a tool's failure by the first line that it wrote to standard error.
// What it wrote to standard output is masked there.
func (t *tool) explain(s worksite.Source, code int, said, out []byte) *Problem {
	for value := range bytes.Lines(out) {
		Mask(said, bytes.TrimSpace(value))
	}
	line, _, _ := bytes.Cut(bytes.TrimSpace(said), []byte("\n"))
	text := fmt.Sprintf("exit code %d", code)
	if len(line) > 0 {
		text = printable(string(line))
	}
	switch {
	case t.absent != nil && t.absent.Match(said):
		return absentAt(s, "%s", text)
	case t.loggedOut != nil && t.loggedOut.Match(said):
		return down(s, "%s: first, in a terminal: %s", text, t.words(s))
	}
	return about(s, "%s: %s", t.argv[0], text)
}

// maxLine bounds a line of a tool's that is shown, in characters.
const maxLine = 300

// printable is a tool's line with its control characters made visible.
func printable(line string) string {
	var text strings.Builder
	for i, r := range []rune(line) {
		switch {
		case i == maxLine:
			return text.String() + "…"
		case unicode.IsPrint(r):
			text.WriteRune(r)
		default:
			text.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return text.String()
}

// Mask puts stars in place of value wherever it stands in text.
func Mask(text, value []byte) {
	for at := 0; len(value) > 0; {
		i := bytes.Index(text[at:], value)
		if i < 0 {
			return
		}
		at += i
		for range value {
			text[at] = '*'
			at++
		}
	}
}

// running is a tool that runs.
type running struct{ stop, done, out, errs *os.File }

func (t Tools) start(j job) (*running, error) {
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	errs, theirErrs, err := os.Pipe()
	if err != nil {
		out.Close()
		theirOut.Close()
		return nil, err
	}
	stop, done, err := t.Runner.start(j, theirOut, theirErrs)
	if err != nil {
		out.Close()
		errs.Close()
		return nil, err
	}
	return &running{stop, done, out, errs}, nil
}

// end kills the tool and ends what waits for it. It may be called at any time.
func (p *running) end() {
	p.stop.Close()
	p.done.Close()
	p.out.Close()
	p.errs.Close()
}

// maxSaid is how much of what a tool says is looked at, in bytes.
const maxSaid = 4 << 10

// collect waits for the tool and returns what it wrote, which the caller frees.
func (p *running) collect(a *arena.Arena) (out, said arena.Block, o outcome, err error) {
	type text struct {
		block arena.Block
		err   error
	}
	errs := make(chan text, 1)
	go func() {
		block, err := readInto(a, p.errs, maxSaid)
		if errors.Is(err, errTooLong) {
			_, err = io.Copy(io.Discard, p.errs)
		}
		errs <- text{block, err}
	}()
	ended := make(chan error, 1)
	go func() {
		err := json.NewDecoder(io.LimitReader(p.done, maxSaid)).Decode(&o)
		// All that the tool wrote is in the pipes. Nothing that it left behind, in a
		// session of its own, is waited for.
		for _, f := range []*os.File{p.out, p.errs} {
			f.SetReadDeadline(time.Now().Add(time.Second))
		}
		ended <- err
	}()
	out, err = readInto(a, p.out, maxValue)
	if err != nil {
		p.stop.Close() // kills it: what it says or how it ends is not waited for
	}
	e := <-errs
	if gone := <-ended; err == nil && gone != nil {
		err = errNoRunner
	}
	return out, e.block, o, err
}

// readInto reads to the end, or until the tool has ended and nothing comes any more,
// and returns what it read also with an error: errTooLong where that is more than
// limit.
func readInto(a *arena.Arena, r io.Reader, limit int) (arena.Block, error) {
	block, err := a.Alloc(min(limit, 4<<10))
	n := 0
	for err == nil {
		if n == block.Len() {
			if block.Len() > limit {
				return block, errTooLong
			}
			block, err = grow(a, block, min(2*n, limit+1))
			continue
		}
		var m int
		m, err = r.Read(block.Bytes()[n:])
		n += m
	}
	if errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	exact, tight := a.Copy(block.Bytes()[:n])
	a.Free(block)
	return exact, errors.Join(err, tight)
}

// grow moves a block to one of size bytes.
func grow(a *arena.Arena, block arena.Block, size int) (arena.Block, error) {
	bigger, err := a.Alloc(size)
	if err != nil {
		return block, err
	}
	copy(bigger.Bytes(), block.Bytes())
	a.Free(block)
	return bigger, nil
}
