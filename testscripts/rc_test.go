package testscripts

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The parts of an rc file. The prompt is set without a fork, and first of all,
// so that what a script adds before or after the hook meets a shell as a person has it.
var rcHead = map[string]string{
	"bash": `KT_N=0
PS1='<KT:$?:$((++KT_N))> '
PS2='> '
`,
	"zsh": `KT_N=0
setopt prompt_subst
unsetopt prompt_sp
PROMPT='<KT:%?:$((++KT_N))> '
PS2='> '
bindkey -e
`,
	"fish": `set -g fish_greeting
set -g KT_N 0
function __kt_taken --on-event fish_preexec
    builtin printf '\e]777;kt\a'
end
function __kt_prompt --on-event fish_prompt
    set -g KT_N (math $KT_N + 1)
end
function fish_prompt
    builtin printf '<KT:%s:%s> ' $status $KT_N
end
function fish_title
end
function fish_right_prompt
end
`,
}

var rcFile = map[string]string{"bash": ".bashrc", "zsh": ".zshrc", "fish": ".config/fish/config.fish"}

// hookLine is the line that the README tells people to write.
func (v variant) hookLine() string {
	command := strings.TrimSpace("keyrack hook " + v.family + " " + v.hook)
	if v.family == "fish" {
		return command + " | source\n"
	}
	return fmt.Sprintf("eval \"$(%s)\"\n", command)
}

// writeRC writes the shell's own start-up file in the script's home, so that
// nested shells, exec $SHELL and tmux read it too.
func (w *world) writeRC(before, after string, hook bool) error {
	v := w.variant
	text := rcHead[v.family] + before + "\n"
	if hook {
		text += v.hookLine()
	}
	file := filepath.Join(w.work, "home", rcFile[v.family])
	if v.family == "bash" { // what tmux starts is a login shell, where /etc/profile sets PATH anew
		login := filepath.Join(w.work, "home/.bash_profile")
		if err := os.WriteFile(login, fmt.Appendf(nil, "PATH=%s/bin:$PATH\n. ~/.bashrc\n", w.work), 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(file, []byte(text+after+"\n"), 0o600)
}
