package source

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

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

	// Programs are the files of the worksite's own commands, as worksite.Store has them.
	Programs map[string]string
}

// Got is what came of one source: a value, which the caller frees, or why there is
// none. Left is how long the source lets it be kept after it was asked, 0 where it
// does not say.
type Got struct {
	Value arena.Block
	Left  time.Duration
	Err   *Problem
}

// Problem is why a source has no value. Absent says that the source works and has
// none of the name, Down that it can't be had: in both cases another source may
// stand in. Login is the command that logs in, where nobody is. Changed says that it is not what was approved. Text is one line for
// people, and holds nothing that the tool put out as a value.
type Problem struct {
	Text                  string
	Login                 string
	Absent, Down, Changed bool
}

func (p *Problem) Error() string { return p.Text }

func about(format string, args ...any) *Problem {
	return &Problem{Text: fmt.Sprintf(format, args...)}
}

func absent(format string, args ...any) *Problem {
	p := about(format, args...)
	p.Absent = true
	return p
}

func down(format string, args ...any) *Problem {
	p := about(format, args...)
	p.Down = true
	return p
}

// Ask gets the values of one of Batches' batches, in its order.
func (t Tools) Ask(ctx context.Context, place Place, batch []worksite.Source) []Got {
	got := t.ask(ctx, place, batch)
	for i, g := range got {
		if g.Err != nil && !g.Err.Changed {
			named := *g.Err
			named.Text = worksite.SourceWords(batch[i].String()) + ": " + named.Text
			got[i].Err = &named
		}
	}
	return got
}

func (t Tools) ask(ctx context.Context, place Place, batch []worksite.Source) []Got {
	row := toolOf(batch[0].Scheme)
	if units := row.units(batch); row.argv != nil && len(units) > 1 {
		return t.askMany(ctx, row, place, batch, units)
	}
	return t.askOne(ctx, row, place, batch)
}

// limited is ctx with the time that one run of a tool has.
func (t Tools) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, cmp.Or(t.Limit, toolTime))
}

// askOne gets the values of a batch that one run of the tool answers for.
func (t Tools) askOne(ctx context.Context, row *tool, place Place, batch []worksite.Source) []Got {
	ctx, cancel := t.limited(ctx)
	defer cancel()
	switch {
	case row.scheme == worksite.EnvScheme:
		return all(len(batch), absent("keyrack exec and helpers look for it in their own environment"))
	case row.argv == nil:
		return t.read(ctx, row, place, batch)
	case row.format != "":
		return t.pick(ctx, row, row.fill(batch[0], place), place, batch)
	}
	got := []Got{t.take(ctx, row, place, batch[0])}
	for range batch[1:] { // the same once more
		again := got[0]
		if again.Err == nil {
			again = t.keep(got[0].Value.Bytes())
		}
		got = append(got, again)
	}
	return got
}

// keep copies a value into a block of its size.
func (t Tools) keep(value []byte) Got {
	block, err := t.Arena.Copy(value)
	if err != nil {
		return Got{Err: about("%v", err)}
	}
	return Got{Value: block}
}

// read has keyrack itself read the file of a batch.
func (t Tools) read(ctx context.Context, row *tool, place Place, batch []worksite.Source) []Got {
	got, err := t.fields(ctx, row.request(place.file(batch[0].Path), batch), nil)
	if err != nil {
		return all(len(batch), failed(ctx, err))
	}
	return got
}

// request asks for the fields of a batch, in a file or in an output.
func (t *tool) request(file string, batch []worksite.Source) request {
	expiry := t.expiry
	if t.scheme == "exec" {
		_, expiry = batch[0].Pointers()
	}
	q := request{verb: verbFields, site: file, value: []byte(t.format), key: []byte(expiry)}
	units := t.units(batch)
	for _, s := range batch {
		q.names = append(q.names, t.pointer(s, slices.Index(units, t.unit(s))))
	}
	return q
}

// all is one problem for all of a batch.
func all(n int, p *Problem) []Got {
	got := make([]Got, n)
	for i := range got {
		got[i].Err = p
	}
	return got
}

// fields asks q of the process that reads fields, with a tool's output where q
// names no file. Without an answer for each source it is an error.
func (t Tools) fields(ctx context.Context, q request, output *os.File) ([]Got, error) {
	got := make([]Got, len(q.names))
	left := len(got)
	err := t.Reader.askOf(ctx, output, q, func(r io.Reader, h answerHead) error {
		if int(h.index) != len(got)-left {
			return errMalformed
		}
		left--
		return t.field(r, h, &got[h.index])
	})
	if err == nil && left > 0 {
		err = errMalformed
	}
	if err != nil {
		t.free(got)
		return nil, err
	}
	return got, nil
}

func (t Tools) free(got []Got) {
	for _, g := range got {
		t.Arena.Free(g.Value)
	}
}

// pick gets the values of a batch from one run of its tool.
func (t Tools) pick(ctx context.Context, row *tool, argv []string, place Place, batch []worksite.Source) []Got {
	q := row.request("", batch)
	var got []Got
	read := func(out *os.File) (err error) {
		got, err = t.fields(ctx, q, out)
		return err
	}
	values := func() (values [][]byte) {
		for _, g := range got {
			values = append(values, g.Value.Bytes())
		}
		return values
	}
	if problem := t.run(ctx, row, argv, place, batch[0], read, values); problem != nil {
		t.free(got)
		return all(len(batch), problem)
	}
	return got
}

// field reads the answer for one field.
func (t Tools) field(r io.Reader, h answerHead, got *Got) error {
	switch h.kind {
	case answerValue:
		block, err := t.Arena.Alloc(int(h.size))
		if err != nil {
			return err
		}
		got.Value, got.Left = block, time.Duration(h.until)
		_, err = io.ReadFull(r, block.Bytes())
		return err
	case answerProblem:
		problem, err := readProblem(r, h)
		if err != nil {
			return err
		}
		got.Err = about("%v", problem)
		got.Err.Absent, got.Err.Down = errors.Is(problem, ErrNotFound), errors.Is(problem, ErrKeyring)
		return nil
	}
	return errMalformed
}

// failed is the problem of a source whose process did not answer.
func failed(ctx context.Context, err error) *Problem {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return down("no answer in time")
	case ctx.Err() != nil:
		return down("gave up")
	}
	return about("%v", err)
}

// take gets the value of s, which is what its tool puts out, or the first line.
func (t Tools) take(ctx context.Context, row *tool, place Place, s worksite.Source) Got {
	var out arena.Block
	defer func() { t.Arena.Free(out) }()
	read := func(file *os.File) (err error) {
		out, err = readInto(t.Arena, file, maxValue)
		return err
	}
	lines := func() [][]byte { return bytes.Split(out.Bytes(), []byte("\n")) }
	if problem := t.run(ctx, row, row.fill(s, place), place, s, read, lines); problem != nil {
		return Got{Err: problem}
	}
	defer arena.Forget() // what is searched goes through registers, as what is copied does
	first, _, _ := bytes.Cut(out.Bytes(), []byte("\n"))
	if row.listing && string(bytes.TrimSuffix(first, []byte("/"))) == strings.TrimSuffix(s.Path, "/") {
		return Got{Err: absent("it is a directory")}
	}
	return t.keep(row.value(s, out.Bytes()))
}

// run runs the tool of s to its end, has its output read, and says what went wrong.
// What was read by then is masked in that: values are the parts of it.
func (t Tools) run(ctx context.Context, row *tool, argv []string, place Place, s worksite.Source, read func(*os.File) error, values func() [][]byte) *Problem {
	if slices.Contains(row.argv, "{identity}") && place.Identity == "" {
		return down(`there is no identity to open it with: age_identity = "FILE" in keyrack's config.toml names one`)
	}
	if ctx.Err() != nil {
		return failed(ctx, nil)
	}
	j := job{argv: argv, env: row.environ(t.Environ), dir: place.Dir, limit: timeLeft(ctx)}
	if row.scheme == "exec" {
		if j.approved = t.Programs; j.approved == nil {
			return &Problem{Text: "it is not approved any more", Changed: true}
		}
	}
	p, err := t.start(j)
	if err != nil {
		return down("%v", err)
	}
	defer p.end()
	over := context.AfterFunc(ctx, p.end)
	defer over()
	said, o, err := p.collect(t.Arena, read)
	defer t.Arena.Free(said)
	switch {
	case ctx.Err() != nil:
		return failed(ctx, nil)
	case o.Changed != "":
		return &Problem{Text: worksite.Visible(o.Changed) + " has changed since it was allowed", Changed: true}
	case o.Missing && row.instead != "":
		return t.run(ctx, row.other(), append([]string{row.instead}, argv[1:]...), place, s, read, values)
	case o.Missing && row.get == "":
		return down("there is no %s", worksite.Visible(argv[0]))
	case o.Missing:
		return down("%s is not installed, or not in the PATH that the daemon was started with: %s", cmp.Or(row.first, argv[0]), row.get)
	case o.Problem != "":
		return down("running %s: %s", argv[0], o.Problem)
	case o.Code != 0 && !errors.Is(err, errTooLong):
		for _, value := range values() {
			Mask(said.Bytes(), bytes.TrimSpace(value))
		}
		return row.explain(s, argv[0], o.Code, said.Bytes())
	case err != nil:
		return about("%s: %v", argv[0], err)
	}
	return nil
}

// value is the part of a tool's output that is the value.
func (t *tool) value(s worksite.Source, out []byte) []byte {
	if t.firstLine != "" && t.firstLine != s.Field {
		out, _, _ = bytes.Cut(out, []byte("\n"))
		return out
	}
	return bytes.TrimSuffix(out, []byte("\n"))
}
