package source

import (
	"context"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"

	"keyrack/worksite"
)

// many is how one process answers for several things that sources of one scheme
// name. What it has nothing for is asked for by itself, which also finds out why.
type many struct {
	argv          []string // a word with {path} or {n}, a number, is there once for each of them
	format, field string   // as those of a tool
	given         string   // what a value was before the run, where that may have left it so
	most          int      // how many at once, 0 for any number
}

// unit is what one run of the tool answers for, where it is not run for many.
func (t *tool) unit(s worksite.Source) worksite.Source {
	switch {
	case t.together:
		return worksite.Source{Scheme: s.Scheme}
	case t.scheme == "exec":
		_, s.Field = s.Pointers()
	case t.format != "":
		s = t.named(s)
		s.Field = ""
	}
	return s
}

func (t *tool) units(batch []worksite.Source) (units []worksite.Source) {
	for _, s := range batch {
		if u := t.unit(s); !slices.Contains(units, u) {
			units = append(units, u)
		}
	}
	return units
}

// Batches says which of sources one process answers for.
func Batches(sources []worksite.Source) [][]int {
	var batches [][]int
	of := map[worksite.Source]int{} // the batch of a unit
	type last struct{ batch, units int }
	lasts := map[string]last{} // by scheme
	for i, s := range sources {
		row := toolOf(s.Scheme)
		unit := row.unit(s)
		at, ok := of[unit]
		if !ok {
			l, open := lasts[s.Scheme]
			if row.many == nil || !open || l.units == row.many.most {
				l = last{batch: len(batches)}
				batches = append(batches, nil)
			}
			l.units++
			lasts[s.Scheme] = l
			at = l.batch
			of[unit] = at
		}
		batches[at] = append(batches[at], i)
	}
	return batches
}

func (m *many) fill(units []worksite.Source) (argv []string) {
	for _, word := range m.argv {
		if !strings.Contains(word, "{") {
			argv = append(argv, word)
			continue
		}
		for n, s := range units {
			argv = append(argv, strings.NewReplacer("{n}", strconv.Itoa(n), "{path}", s.Path).Replace(word))
		}
	}
	return argv
}

// atOnce is how many of the things are asked for at the same time that one process
// for all had not.
const atOnce = 4

// askMany gets the values of a batch from one run for all of them, and from one for
// each thing of which that has none.
func (t Tools) askMany(ctx context.Context, row *tool, place Place, batch, units []worksite.Source) []Got {
	got := t.askTogether(ctx, row, place, batch, units)
	slots := make(chan struct{}, atOnce)
	var runs sync.WaitGroup
	for _, unit := range units {
		var of []int
		var alone []worksite.Source
		for i, s := range batch {
			if row.unit(s) == unit {
				of, alone = append(of, i), append(alone, s)
			}
		}
		if slices.ContainsFunc(of, func(i int) bool { return got[i].Err == nil || got[i].Err.Down }) {
			continue
		}
		slots <- struct{}{}
		runs.Go(func() {
			for n, g := range t.askOne(ctx, row, place, alone) {
				got[of[n]] = g
			}
			<-slots
		})
	}
	runs.Wait()
	return got
}

// askTogether gets what one run for all of a batch has.
func (t Tools) askTogether(ctx context.Context, row *tool, place Place, batch, units []worksite.Source) []Got {
	ctx, cancel := t.limited(ctx)
	defer cancel()
	once := *row
	once.format, once.field, once.expiry = row.many.format, row.many.field, ""
	got := t.pick(ctx, &once, row.many.fill(units), place, batch)
	for i, s := range batch {
		given := strings.ReplaceAll(row.many.given, "{path}", s.Path)
		if got[i].Err == nil && given != "" && string(got[i].Value.Bytes()) == given {
			t.Arena.Free(got[i].Value)
			got[i] = Got{Err: absent("%s left it as it is", row.argv[0])}
		}
	}
	return got
}

// Commands are the commands that are run at p for the values of sources: one for
// several of them, where the tool can, and one for each that this has not.
func Commands(sources []worksite.Source, p Place) (commands [][]string) {
	for _, batch := range Batches(sources) {
		var of []worksite.Source
		for _, i := range batch {
			of = append(of, sources[i])
		}
		row := toolOf(of[0].Scheme)
		if row.argv == nil {
			continue
		}
		if row.instead != "" && !found(row.argv[0]) && found(row.instead) {
			row = row.other()
		}
		if units := row.units(of); len(units) > 1 {
			commands = append(commands, row.many.fill(units))
		}
		for _, s := range of {
			commands = append(commands, row.fill(s, p))
		}
	}
	return commands
}

func found(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}
