package worksite

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName bounds the names of worksites, secrets and variables, in bytes.
const maxName = 200

// CheckName says why name may not be a worksite's, nil if it may.
func CheckName(name string) error {
	if problem := siteNameProblem(name); problem != "" {
		return fmt.Errorf("%s: %s", quoted(name), problem)
	}
	return nil
}

func siteNameProblem(name string) string {
	switch {
	case name == "":
		return "a worksite's name is not empty"
	case len(name) > maxName:
		return fmt.Sprintf("a worksite's name has at most %d characters", maxName)
	case strings.ContainsFunc(name, func(r rune) bool { return !isSiteRune(r) }):
		return "a worksite's name is made of a-z, 0-9, '.', '_', '/' and '-'"
	}
	return ""
}

func isSiteRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("._/-", r)
}

// FitName makes a worksite's name of another one: lower case, with a `-` for what
// does not fit. It is "" where nothing is left.
func FitName(from string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(from) {
		if !isSiteRune(r) {
			r = '-'
		}
		if text := b.String(); r != '-' || text != "" && !strings.HasSuffix(text, "-") {
			b.WriteRune(r)
		}
		if b.Len() == maxName {
			break
		}
	}
	name := strings.Trim(b.String(), "-/")
	if strings.Trim(name, ".") == "" {
		return ""
	}
	return name
}

// dirName is the name of a worksite whose file has none, "" where the directory's
// has nothing that fits.
func dirName(dir string) string {
	return FitName(strings.ReplaceAll(filepath.Base(dir), "/", ""))
}

// CheckSecretName says why name may not be a secret's, or a variable's that gets
// one; nil if it may.
func CheckSecretName(name string) error {
	if problem := variableProblem(name); problem != "" {
		return errors.New(quoted(name) + problem)
	}
	return nil
}

// variableProblem continues a sentence that begins with the name.
func variableProblem(name string) string {
	switch {
	case name == "":
		return " is no name"
	case len(name) > maxName:
		return fmt.Sprintf(" is over %d characters", maxName)
	case !isVariable(name):
		return " is no name of a variable: those are made of A-Z, a-z, 0-9 and _, and begin with no digit"
	case forbidden(name):
		return " may never be exported: it changes how programs load or shells behave"
	}
	return ""
}

func isVariable(name string) bool {
	for i := range len(name) {
		if !isWord(name[i]) || i == 0 && isDigit(name[i]) {
			return false
		}
	}
	return name != ""
}

// forbiddenNames change how programs load, how a shell behaves, or which program
// runs; forbiddenPrefixes likewise. Package shells refuses the same, and a test of
// package cmd holds the two lists equal. Each name stands between two blanks.
const forbiddenNames = " _ PATH HOME IFS SHELL ENV PWD OLDPWD CDPATH PROMPT_COMMAND PROMPT RPROMPT PS0 PS1 PS2 PS3 PS4" +
	" SHELLOPTS FPATH ZDOTDIR FIGNORE GLOBIGNORE HISTFILE HISTCMD INPUTRC TMOUT OPTARG OPTIND REPLY FUNCNEST" +
	" UID EUID PPID path fpath cdpath prompt status argv pipestatus version" +
	" GCONV_PATH LOCPATH NLSPATH HOSTALIASES RESOLV_HOST_CONF GETCONF_DIR MALLOC_TRACE TMPDIR" +
	" NODE_OPTIONS NODE_PATH PYTHONSTARTUP PYTHONPATH PYTHONHOME PERL5LIB PERL5OPT PERL5DB RUBYLIB RUBYOPT" +
	" JAVA_TOOL_OPTIONS _JAVA_OPTIONS JDK_JAVA_OPTIONS GIT_SSH GIT_SSH_COMMAND GIT_EXEC_PATH GIT_EXTERNAL_DIFF GIT_ASKPASS GIT_PAGER GIT_EDITOR GIT_SEQUENCE_EDITOR GIT_PROXY_COMMAND SSH_ASKPASS SUDO_ASKPASS LESSOPEN LESSCLOSE MANPAGER" +
	" EDITOR VISUAL PAGER BROWSER "

var forbiddenPrefixes = []string{"LD_", "DYLD_", "KEYRACK_", "__keyrack", "BASH", "ZSH_", "fish_", "__fish", "XDG_", "COMP_", "GIT_CONFIG"}

func forbidden(name string) bool {
	for _, prefix := range forbiddenPrefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return strings.Contains(forbiddenNames, " "+name+" ")
}

// quoted quotes a name for a message: control characters become visible, a very
// long one is cut.
func quoted(name string) string {
	if len(name) > maxName {
		cut := maxName
		for cut > 0 && !utf8.RuneStart(name[cut]) {
			cut--
		}
		name = name[:cut] + "…"
	}
	return strconv.Quote(name)
}

// Visible is text as it is where a terminal shows it as it is, else quoted.
func Visible(text string) string {
	plain := utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool {
		return !unicode.IsPrint(r) || r == '"' || r == '\\'
	})
	if plain {
		return text
	}
	return strconv.Quote(text)
}

// nearest is the one of known that word is the beginning or a misspelling of, ""
// for none.
func nearest(word string, known []string) string {
	best, least := "", 1+max(1, len(word)/3)
	for _, k := range known {
		if len(word) > 2 && strings.HasPrefix(k, strings.ToLower(word)) {
			return k
		}
		if d := distance(strings.ToLower(word), k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance counts the letters to change, add, drop or swap with the next one to
// make b of a.
func distance(a, b string) int {
	if len(a) > 2*len(b)+2 {
		return len(a)
	}
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
