package arena

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func newArena(t testing.TB) *Arena {
	t.Helper()
	a, err := New(false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// Blocks of all sizes, taken and given back in any order, never overlap, are
// zeroed, and leave the arena as empty as it was.
func TestBlocksDoNotOverlap(t *testing.T) {
	a := newArena(t)
	random := rand.New(rand.NewPCG(1, 2))
	type held struct {
		block Block
		fill  byte
	}
	var all []held
	for i := range 20000 {
		if len(all) > 200 || len(all) > 0 && random.IntN(3) == 0 {
			j := random.IntN(len(all))
			if got := bytes.Count(all[j].block.Bytes(), []byte{all[j].fill}); got != all[j].block.Len() {
				t.Fatalf("step %d: a block of %d bytes has %d of its own", i, all[j].block.Len(), got)
			}
			a.Free(all[j].block)
			all[j] = all[len(all)-1]
			all = all[:len(all)-1]
			continue
		}
		n := random.IntN(300)
		if random.IntN(500) == 0 {
			n = chunkSize + random.IntN(chunkSize)
		}
		b, err := a.Alloc(n)
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Count(b.Bytes(), []byte{0}); got != n || b.Len() != n {
			t.Fatalf("step %d: of %d bytes %d are zero", i, n, got)
		}
		fill := byte(1 + i%255)
		for j := range b.Bytes() {
			b.Bytes()[j] = fill
		}
		all = append(all, held{b, fill})
	}
	for _, h := range all {
		a.Free(h.block)
	}
	if len(a.chunks) != 1 || !a.chunks[0].empty() {
		t.Errorf("%d chunks are left, the first with %d free spans", len(a.chunks), len(a.chunks[0].free))
	}
	if bytes.Count(a.chunks[0].mem, []byte{0}) != len(a.chunks[0].mem) {
		t.Error("something that was freed is not wiped")
	}
}

func TestCopy(t *testing.T) {
	a := newArena(t)
	b, err := a.Copy([]byte("one "), nil, []byte("two"))
	if err != nil || string(b.Bytes()) != "one two" || cap(b.Bytes()) != 7 {
		t.Errorf("%d bytes, %v", b.Len(), err)
	}
	empty, err := a.Copy()
	if err != nil || empty.Bytes() != nil || empty.Len() != 0 {
		t.Errorf("an empty block has %d bytes, %v", empty.Len(), err)
	}
	a.Free(empty)
	a.Free(Block{})
	a.Free(b)
}

func TestAtTheSameTime(t *testing.T) {
	a := newArena(t)
	var running sync.WaitGroup
	for i := range 8 {
		running.Go(func() {
			want := bytes.Repeat([]byte{byte(i + 1)}, 100+i)
			for range 2000 {
				b, err := a.Copy(want)
				if err != nil || !bytes.Equal(b.Bytes(), want) {
					t.Errorf("block of %d bytes is another's, %v", b.Len(), err)
					return
				}
				a.Free(b)
			}
		})
	}
	running.Wait()
}

// limited runs one of the cases below in a process that may lock limit bytes, as
// a user who may not lock more than that.
func limited(t *testing.T, name string, limit string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Log("not root: the limits hold as they are")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(exe, "-test.run=^TestLimitedChild$")
	c.Env = append(os.Environ(), "ARENA_CASE="+name, "ARENA_LIMIT="+limit)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
	return string(out)
}

// TestLimitedChild is the process that limited starts; without one it has nothing to do.
func TestLimitedChild(t *testing.T) {
	var limit uint64
	if _, err := fmt.Sscan(os.Getenv("ARENA_LIMIT"), &limit); err != nil {
		return
	}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		t.Fatal(err)
	}
	if err := dropIPCLock(); err != nil {
		t.Fatal(err)
	}
	switch os.Getenv("ARENA_CASE") {
	case "none":
		_, err := New(true)
		fmt.Println("strict:", err != nil)
		a, err := New(false)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("kind:", a.Kind())
	case "full":
		a, err := New(true)
		if err != nil {
			t.Fatal(err)
		}
		fill(t, a)
	}
}

// fill takes blocks until there are no more, and looks at all of them again.
func fill(t *testing.T, a *Arena) {
	value := bytes.Repeat([]byte("v"), 100<<10)
	var blocks []Block
	for {
		b, err := a.Copy(value)
		if errors.Is(err, ErrFull) {
			fmt.Println("full:", !strings.Contains(err.Error(), "vvv"))
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, b)
	}
	whole := true
	for _, b := range blocks {
		whole = whole && bytes.Equal(b.Bytes(), value)
	}
	fmt.Println("some:", len(blocks) > 1, "whole:", whole)
	a.Free(blocks[0])
	_, err := a.Copy(value)
	fmt.Println("again:", err == nil)
}

// The best kind is what the kernel has: where memfd_secret works, no other is taken.
func TestBestKind(t *testing.T) {
	a := newArena(t)
	mem, err := mapPages(Secret, chunkSize)
	if err == nil {
		unmap(mem)
	}
	if (err == nil) != (a.Kind() == Secret) || err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EAGAIN) {
		t.Errorf("the kind is %s, and secret memory says %v", a.Kind(), err)
	}
}

// Where no memory may be locked the kind says so, and strict refuses.
func TestNoLockedMemory(t *testing.T) {
	out := limited(t, "none", "0")
	if !strings.Contains(out, "strict: true") || !strings.Contains(out, "kind: "+string(Unlocked)) {
		t.Error(out)
	}
}

// Where it is used up, that is one error, and nothing is lost.
func TestFull(t *testing.T) {
	out := limited(t, "full", fmt.Sprint(1<<20))
	for _, want := range []string{"full: true", "some: true whole: true", "again: true"} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is missing in %s", want, out)
		}
	}
}

func BenchmarkCopyFree(b *testing.B) {
	a := newArena(b)
	value := bytes.Repeat([]byte("v"), 64)
	for b.Loop() {
		block, err := a.Copy(value)
		if err != nil {
			b.Fatal(err)
		}
		a.Free(block)
	}
}
