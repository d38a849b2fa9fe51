package source

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"keyrack/worksite"
)

// command is the program to start, or else why there is none.
func (j job) command() (*exec.Cmd, outcome) {
	cmd := exec.Command(j.argv[0], j.argv[1:]...)
	if j.approved == nil {
		return cmd, outcome{}
	}
	if strings.Contains(j.argv[0], "/") {
		var o outcome
		if cmd, o = j.program(); cmd == nil {
			return nil, o
		}
	}
	for _, word := range j.argv[1:] {
		sum, err := worksite.Sum(j.dir, word, false, nil)
		o := outcome{Changed: word}
		if err != nil {
			o = outcome{Problem: err.Error()}
		}
		if err != nil || sum != j.approved[word] {
			closeAll(cmd.ExtraFiles)
			return nil, o
		}
	}
	cmd.Args = j.argv
	return cmd, outcome{}
}

// program is the command that runs the approved file, which the first word names by
// its path.
func (j job) program() (cmd *exec.Cmd, o outcome) {
	word := j.argv[0]
	var copy *programCopy // nil where there is no file
	sum, err := worksite.Sum(j.dir, word, true, func(file *os.File) (w io.Writer, err error) {
		info, err := file.Stat()
		if err == nil && info.Mode()&0o111 == 0 {
			err = syscall.EACCES
		}
		if err == nil {
			copy = newCopy(file)
		}
		return copy, err
	})
	switch {
	case err != nil:
		o.Problem = err.Error()
	case sum != j.approved[word]:
		o.Changed = word
	case copy == nil:
		o.Missing = true
	default:
		if cmd, err = copy.command(); err != nil {
			o.Problem = err.Error()
		}
	}
	return cmd, o
}

func closeAll(files []*os.File) {
	for _, file := range files {
		file.Close()
	}
}
