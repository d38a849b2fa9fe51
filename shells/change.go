package shells

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// Change is what one answer of the daemon does to a shell.
type Change struct {
	Put []Var    // exported, in this order
	Say []string // lines for people, without "keyrack: "

	Commands   string // names, parted by blanks, of those that go by way of keyrack exec
	Status     string
	Generation string
	Mode       string // "command", "tree" or ""
	Summary    string // said when the worksite is entered; "" says nothing
}

// Var is one variable that a shell exports.
type Var struct {
	Name  string // holds ValidName
	Value []byte
}

// Render is the change as calls of the four functions that every hook script
// defines. A variable whose name is not a ValidName is left out: a name is
// never quoted, so it must not be able to be code. For bash it is all ASCII, so that
// it has as many characters as bytes, in every locale.
func (s Shell) Render(c Change) []byte {
	return s.Append(make([]byte, 0, s.Size(c)), c)
}

// Size is at least as many bytes as Append appends.
func (s Shell) Size(c Change) int {
	size := 256
	for _, text := range append([]string{c.Commands, c.Status, c.Generation, c.Mode, c.Summary}, c.Say...) {
		size += s.wordSize([]byte(text)) + 24
	}
	for _, v := range c.Put {
		size += len(v.Name) + s.wordSize(v.Value) + 24
	}
	return size
}

// Append is Render, to the end of code.
func (s Shell) Append(code []byte, c Change) []byte {
	code = s.appendPuts(code, c.Put)
	if c.Commands != "" {
		code = s.appendCall(code, "__keyrack_commands", c.Commands)
	}
	for _, line := range c.Say {
		code = s.appendCall(code, "__keyrack_say", line)
	}
	return s.appendCall(code, "__keyrack_end", c.Status, c.Generation, c.Mode, c.Summary)
}

// appendPuts calls the function once for each variable, or in bash, where a call costs
// as much as all that it does, once for all.
func (s Shell) appendPuts(code []byte, put []Var) []byte {
	const call = "__keyrack_put"
	before, next := call, "\n"+call
	if s == Bash {
		next = ""
	}
	for _, v := range put {
		if ValidName(v.Name) {
			code = append(append(append(append(code, before...), ' '), v.Name...), ' ')
			code = s.appendWord(code, v.Value)
			before = next
		}
	}
	if before != call {
		code = append(code, '\n')
	}
	return code
}

func (s Shell) appendCall(code []byte, function string, args ...string) []byte {
	code = append(code, function...)
	for _, arg := range args {
		code = s.appendWord(append(code, ' '), []byte(arg))
	}
	return append(code, '\n')
}

func (s Shell) appendWord(code, v []byte) []byte {
	if s.needsANSI(v) {
		return appendANSI(code, v)
	}
	return s.appendQuoted(code, v)
}

// wordSize is at least as many bytes as appendWord appends.
func (s Shell) wordSize(v []byte) int {
	if s.needsANSI(v) {
		return 4*len(v) + 3
	}
	return len(v) + 3*(bytes.Count(v, []byte("'"))+bytes.Count(v, []byte(`\`))) + 2
}

func (s Shell) needsANSI(v []byte) bool {
	return s == Bash && bytes.ContainsFunc(v, func(r rune) bool { return r >= utf8.RuneSelf })
}

// refusedNames change how programs load, how a shell behaves, or which program
// runs; refusedPrefixes likewise. Each name stands between two blanks.
const refusedNames = " _ PATH HOME IFS SHELL ENV PWD OLDPWD CDPATH PROMPT_COMMAND PROMPT RPROMPT PS0 PS1 PS2 PS3 PS4" +
	" SHELLOPTS FPATH ZDOTDIR FIGNORE GLOBIGNORE HISTFILE HISTCMD INPUTRC TMOUT OPTARG OPTIND REPLY FUNCNEST" +
	" UID EUID PPID path fpath cdpath prompt status argv pipestatus version" +
	" GCONV_PATH LOCPATH NLSPATH HOSTALIASES RESOLV_HOST_CONF GETCONF_DIR MALLOC_TRACE TMPDIR" +
	" NODE_OPTIONS NODE_PATH PYTHONSTARTUP PYTHONPATH PYTHONHOME PERL5LIB PERL5OPT PERL5DB RUBYLIB RUBYOPT" +
	" JAVA_TOOL_OPTIONS _JAVA_OPTIONS JDK_JAVA_OPTIONS GIT_SSH GIT_SSH_COMMAND GIT_EXEC_PATH GIT_EXTERNAL_DIFF GIT_ASKPASS GIT_PAGER GIT_EDITOR GIT_SEQUENCE_EDITOR GIT_PROXY_COMMAND SSH_ASKPASS SUDO_ASKPASS LESSOPEN LESSCLOSE MANPAGER" +
	" EDITOR VISUAL PAGER BROWSER "

var refusedPrefixes = []string{"LD_", "DYLD_", "KEYRACK_", "__keyrack", "BASH", "ZSH_", "fish_", "__fish", "XDG_", "COMP_", "GIT_CONFIG"}

// ValidName reports whether a variable of that name may be exported. The hook
// scripts refuse the same names once more.
func ValidName(name string) bool {
	for i, c := range []byte(name) {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	for _, prefix := range refusedPrefixes {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	return name != "" && !strings.Contains(refusedNames, " "+name+" ")
}
