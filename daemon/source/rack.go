package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"filippo.io/age"
)

// Item names one value in the rack.
type Item struct{ Site, Name string }

// Read returns the values that the rack has for names of site; what it does not
// have is not in the map. The caller wipes the values.
func (r Rack) Read(ctx context.Context, key []byte, site string, names []string) (map[string][]byte, error) {
	c, err := r.load(ctx, key)
	if err != nil {
		return nil, err
	}
	defer c.wipe()
	values := map[string][]byte{}
	for _, name := range names {
		if i, ok := c.find(site, name); ok {
			values[name] = append(make([]byte, 0, len(c[i].value)), c[i].value...)
		}
	}
	return values, nil
}

// List names what the rack holds for site, sorted; for every site where that is "".
func (r Rack) List(ctx context.Context, key []byte, site string) ([]Item, error) {
	c, err := r.load(ctx, key)
	if err != nil {
		return nil, err
	}
	defer c.wipe()
	var items []Item
	for _, s := range c {
		if site == "" || s.site == site {
			items = append(items, Item{s.site, s.name})
		}
	}
	return items, nil
}

// Set puts a value into the rack, in the place of one that is there.
func (r Rack) Set(ctx context.Context, key []byte, site, name string, value []byte) error {
	if err := checkNames(site, name); err != nil {
		return err
	}
	return r.change(ctx, key, func(c content) (content, error) {
		own := append(make([]byte, 0, len(value)), value...)
		i, found := c.find(site, name)
		if !found {
			return slices.Insert(c, i, secret{site, name, own}), nil
		}
		clear(c[i].value)
		c[i].value = own
		return c, nil
	})
}

// Remove takes a value out of the rack, ErrNotFound where there is none.
func (r Rack) Remove(ctx context.Context, key []byte, site, name string) error {
	return r.change(ctx, key, func(c content) (content, error) {
		i, found := c.find(site, name)
		if !found {
			return c, ErrNotFound
		}
		clear(c[i].value)
		return slices.Delete(c, i, i+1), nil
	})
}

// change rewrites the rack, as its one writer.
func (r Rack) change(ctx context.Context, key []byte, f func(content) (content, error)) error {
	if there, err := r.exists(); err != nil {
		return err
	} else if !there {
		return ErrNoRack
	}
	release, err := r.lockWrites(ctx)
	if err != nil {
		return err
	}
	defer release()
	r.sweep()
	c, err := r.load(ctx, key)
	if err != nil {
		return err
	}
	c, err = f(c)
	defer c.wipe()
	if err != nil {
		return err
	}
	return r.store(key, c)
}

// load reads the rack whole.
func (r Rack) load(ctx context.Context, key []byte) (content, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	sealed, plain, err := r.open(key)
	if err != nil {
		return nil, err
	}
	text := make([]byte, sealed) // longer than what is in it
	defer clear(text)
	n, err := readAll(plain, text)
	if err != nil {
		return nil, r.damaged("truncated or changed")
	}
	c, err := parse(text[:n])
	if err != nil {
		return nil, r.damaged(err.Error())
	}
	return c, nil
}

// readAll reads what age decrypts into text, which is longer than that. Nothing
// but io.EOF itself is its end: age says io.ErrUnexpectedEOF of a file that is cut.
func readAll(plain io.Reader, text []byte) (n int, err error) {
	for n < len(text) {
		var size int
		size, err = plain.Read(text[n:])
		n += size
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, io.ErrShortBuffer
}

// open reads the rack's file and returns its size and a reader of what is in it.
func (r Rack) open(key []byte) (size int, plain io.Reader, err error) {
	identity, err := identityOf(key)
	if err != nil {
		return 0, nil, err
	}
	sealed, err := readFile(r.File(), maxRack)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil, ErrNoRack
	}
	if err != nil {
		return 0, nil, err
	}
	plain, err = age.Decrypt(bytes.NewReader(sealed), identity)
	if _, other := errors.AsType[*age.NoIdentityMatchError](err); other {
		return 0, nil, ErrWrongKey
	}
	if err != nil {
		return 0, nil, r.damaged("truncated or changed")
	}
	return len(sealed), plain, nil
}

func (r Rack) damaged(how string) error {
	return fmt.Errorf("%s is %w, it stays as it is: %s", r.File(), ErrDamaged, how)
}

// store writes the rack whole. The caller is its one writer.
func (r Rack) store(key []byte, c content) error {
	identity, err := identityOf(key)
	if err != nil {
		return err
	}
	if size := c.size(); size+size/1000+maxSmall > maxRack { // what age adds is less
		return fmt.Errorf("the rack would be over %d MiB", maxRack>>20)
	}
	text := c.text()
	defer clear(text)
	return writeFile(r.File(), func(w io.Writer) error { return seal(w, text, identity.Recipient()) })
}

// seal writes text as an age file.
func seal(w io.Writer, text []byte, to age.Recipient) error {
	buffered := bufio.NewWriter(w)
	plain, err := age.Encrypt(buffered, to)
	if err != nil {
		return err
	}
	if _, err := plain.Write(text); err != nil {
		return err
	}
	if err := plain.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}
