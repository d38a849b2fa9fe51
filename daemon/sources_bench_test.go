package daemon

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"keyrack/daemon/source"
	"keyrack/daemon/wire"
)

// Fifty secrets of five stores, each of which takes 300 ms a process, none of them
// held: the time until a command has them all.
func BenchmarkStores(b *testing.B) {
	dir := b.TempDir()
	var pairs []string
	site := "[secrets]\n"
	for key := range 10 {
		pairs = append(pairs, fmt.Sprintf(`"k%d":"value"`, key))
		for store := range 5 {
			site += fmt.Sprintf("S%d_%d = 'sops:store%d#k%d'\n", store, key, store, key)
		}
	}
	script := "#!/bin/sh\necho >>" + dir + "/runs\nsleep 0.3\necho '{" + strings.Join(pairs, ",") + "}'\n"
	if err := os.WriteFile(dir+"/sops", []byte(script), 0o700); err != nil {
		b.Fatal(err)
	}
	b.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	runner, err := source.StartRunner(Self(), wire.CleanEnvironment(os.Environ()))
	if err != nil {
		b.Fatal(err)
	}
	defer runner.Close()
	r := newRig(b, "none", func(o *Options) { o.runner = runner })
	r.worksite(site)
	for b.Loop() {
		g, err := r.cache.Grant(context.Background(), Query{Root: r.root})
		if err != nil || len(g.Vars) != 50 {
			b.Fatalf("%d values, %v", len(g.Vars), err)
		}
		b.StopTimer()
		g.Wipe()
		r.lock()
		r.unlock(nil, 0)
		b.StartTimer()
	}
	b.StopTimer()
	if runs, _ := os.ReadFile(dir + "/runs"); len(runs) != 5*b.N {
		b.Fatalf("%d processes for %d times", len(runs), b.N)
	}
}
