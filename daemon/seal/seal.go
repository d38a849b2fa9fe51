// Package seal encrypts what has a time to live under keys that the kernel keeps and
// forgets at its end, whether this process runs then or stands still: what is left in
// its memory afterwards, and in an image of that on a disk, is noise. While the time
// lasts it hides nothing from who may use this process's keyring.
//
// It knows nothing of what it seals, and where the kernel gives no keys it says why.
//
// The stream cipher stands alone, without a tag: who could change this memory needs
// no value, and of the AEAD the key can't be wiped.
package seal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/crypto/chacha20"
)

// Keys are the keys of one process, at most one for each second in which something
// ends. The caller sees to it that one method runs at a time. While a key is in use
// it lies in the memory that New was given, until Shut.
type Keys struct {
	kernel Kernel
	room   []byte
	inRoom *key
	byEnd  map[int64]*key
}

// key is one key of the kernel's: what is sealed under it, so that it is taken back
// after the last, and how much was, which is the next nonce.
type key struct {
	id   int
	end  int64 // by the wall clock, in seconds
	held int
	used uint64
}

// Sealed is what Open needs besides the memory. The zero Sealed seals nothing.
type Sealed struct {
	key   *key
	nonce uint64
}

// Size is the size of a key, and of the memory for New.
const Size = chacha20.KeySize

// maxKeys is how many of the 200 keys that a user may have a process takes.
const maxKeys = 100

// ErrMany says that more keys are in use than one process takes.
var ErrMany = errors.New("too many keys are in use")

// ErrEnded says that the kernel has forgotten a key.
var ErrEnded = errors.New("its key has ended")

// Kernel keeps keys, as Keyring does: Add until the wall clock says end, which nobody
// can put off; of one that has ended Read says ErrEnded. End is the first whole second
// when left is over.
type Kernel interface {
	Add(key []byte, end int64) (id int, err error)
	Read(id int, key []byte) error
	Remove(id int)
	End(left time.Duration) int64
}

// New makes keys that kernel keeps, after one that shows that it does. room, of Size
// bytes, is memory where a key may lie.
func New(kernel Kernel, room []byte) (*Keys, error) {
	k := &Keys{kernel: kernel, room: room, byEnd: map[int64]*key{}}
	probe := make([]byte, 1)
	s, err := k.Seal(probe, time.Minute)
	if err != nil {
		return nil, err
	}
	k.Shut()
	err = k.Open(s, probe, probe)
	k.Shut()
	k.Drop(s)
	return k, err
}

// Seal encrypts memory where it is. It can be opened for as long as left says, in
// whole seconds, the last one begun.
func (k *Keys) Seal(memory []byte, left time.Duration) (Sealed, error) {
	end := k.kernel.End(left)
	key, err := k.until(end)
	if err != nil {
		return Sealed{}, err
	}
	s := Sealed{key, key.used}
	key.used++
	if err := k.crypt(s, memory, memory); err != nil {
		k.dropIfUnused(key)
		return Sealed{}, err
	}
	key.held++
	return s, nil
}

// Open decrypts from into to, which is as long. ErrEnded is its error when the time
// is over.
func (k *Keys) Open(s Sealed, to, from []byte) error {
	return k.crypt(s, to, from)
}

// Drop takes the key of s back if it was the last that needs it.
func (k *Keys) Drop(s Sealed) {
	if s.key == nil {
		return
	}
	s.key.held--
	k.dropIfUnused(s.key)
}

// Shut wipes what Seal and Open left: the key, and on the stack of this goroutine and
// in the processor what was computed from it.
func (k *Keys) Shut() {
	clear(k.room)
	k.inRoom = nil
	overwrite()
}

func (k *Keys) dropIfUnused(key *key) {
	if key.held > 0 {
		return
	}
	if k.inRoom == key {
		clear(k.room)
		k.inRoom = nil
	}
	k.kernel.Remove(key.id)
	delete(k.byEnd, key.end)
}

// until is the key that ends then.
func (k *Keys) until(end int64) (*key, error) {
	if key := k.byEnd[end]; key != nil {
		return key, nil
	}
	if len(k.byEnd) >= maxKeys {
		return nil, ErrMany
	}
	reserve()
	rand.Read(k.room) // which never fails
	k.inRoom = nil
	id, err := k.kernel.Add(k.room, end)
	if err != nil {
		clear(k.room)
		return nil, err
	}
	made := &key{id: id, end: end}
	k.inRoom, k.byEnd[end] = made, made
	return made, nil
}

// crypt is both directions.
func (k *Keys) crypt(s Sealed, to, from []byte) error {
	if k.inRoom != s.key {
		reserve()
		k.inRoom = nil
		if err := k.kernel.Read(s.key.id, k.room); err != nil {
			clear(k.room)
			return err
		}
		k.inRoom = s.key
	}
	var nonce [chacha20.NonceSize]byte
	binary.LittleEndian.PutUint64(nonce[:], s.nonce)
	cipher, err := chacha20.NewUnauthenticatedCipher(k.room, nonce[:])
	if err != nil {
		return err
	}
	cipher.XORKeyStream(to, from)
	*cipher = chacha20.Cipher{} // it has a copy of the key
	return nil
}

// depth is more of the stack than a cipher takes.
const depth = 4 << 10

// reserve sees to it that the stack does not have to grow, and leave its old memory
// as it is, while a key is in use. The collector may still move it then.
//
//go:noinline
func reserve() byte {
	var frame [depth]byte
	return touch(&frame)
}

// overwrite is where the cipher was on the stack.
//
//go:noinline
func overwrite() byte {
	var frame [depth]byte
	clear(frame[:])
	return touch(&frame)
}

//go:noinline
func touch(frame *[depth]byte) byte { return frame[len(frame)/2] }
