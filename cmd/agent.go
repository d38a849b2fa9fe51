package cmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"keyrack/shells"
)

// maxHook bounds what an agent says to a hook, in bytes.
const maxHook = 8 << 20

func agentCommand() *cobra.Command {
	var allow bool
	c := &cobra.Command{
		Use:   "agent",
		Short: "answer a coding agent's hook: mask values in what its commands print",
		Long: `Reads what a coding agent says to a hook before it uses a tool, from standard input,
and writes what the agent should do instead: run the command by way of keyrack exec
--mask, so that it has the secrets of the worksite and the model sees none of them. It speaks
the PreToolUse of Claude Code and Codex, and the BeforeTool of Gemini CLI. What is no shell
command, and what runs outside every worksite, stays as it is.

The agent asks you before it runs the command, unless you have told it to ask for
nothing. With --allow it does not ask; Codex takes nothing else.`,
		Args: exactly(),
		RunE: func(c *cobra.Command, args []string) error {
			answer, err := answerAgent(c.InOrStdin(), allow)
			if err != nil { // 2 is the code at which an agent does not go on
				say("%s: the command was not run", err)
				return codeError(exitUsage)
			}
			_, err = os.Stdout.Write(answer)
			return err
		},
	}
	c.Flags().BoolVar(&allow, "allow", false, "have the agent run it without asking")
	return c
}

// agentCall is what an agent says before it uses a tool.
type agentCall struct {
	Event string                     `json:"hook_event_name"`
	Dir   string                     `json:"cwd"`
	Mode  string                     `json:"permission_mode"`
	Input map[string]json.RawMessage `json:"tool_input"`
}

// agentAnswers are how agents are told another input, by the name of their event.
var agentAnswers = map[string]func(call agentCall, input map[string]json.RawMessage, allow bool) map[string]any{
	"PreToolUse": func(call agentCall, input map[string]json.RawMessage, allow bool) map[string]any {
		decision := "ask"
		if allow || call.Mode == "bypassPermissions" {
			decision = "allow"
		}
		return map[string]any{"permissionDecision": decision, "permissionDecisionReason": "keyrack masks the worksite's secrets in its output", "updatedInput": input}
	},
	"BeforeTool": func(_ agentCall, input map[string]json.RawMessage, _ bool) map[string]any {
		return map[string]any{"tool_input": input}
	},
}

// answerAgent is what is answered to an agent, nothing where its call stays as it is.
func answerAgent(in io.Reader, allow bool) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxHook+1))
	if err != nil {
		return nil, err
	}
	var call agentCall
	if len(text) > maxHook || json.Unmarshal(text, &call) != nil {
		return nil, errors.New("standard input is not what an agent says to a hook")
	}
	answer, known := agentAnswers[call.Event]
	if !known {
		return nil, fmt.Errorf("%q is no event that keyrack agent answers (%s)", call.Event, strings.Join(slices.Sorted(maps.Keys(agentAnswers)), ", "))
	}
	var command string
	if json.Unmarshal(call.Input["command"], &command) != nil || staysInShell(command) {
		return nil, nil
	}
	if root, err := lookForRoot(call.Dir); err != nil || root == "" {
		return nil, err
	}
	input := maps.Clone(call.Input)
	if input["command"], err = asJSON(shellQuote(self()) + " exec --from-hook --mask -- " + agentShell() + " -c " + shells.Bash.QuoteString(command)); err != nil {
		return nil, err
	}
	out := answer(call, input, allow)
	out["hookEventName"] = call.Event
	return asJSON(map[string]any{"hookSpecificOutput": out})
}

// asJSON is JSON in one line, with < and & as they are.
func asJSON(v any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return out.Bytes(), err
}

// agentShell is the shell for which agents write their commands.
func agentShell() string {
	if filepath.Base(os.Getenv("SHELL")) == "zsh" {
		return "zsh"
	}
	return "bash"
}

// staysInShell says whether command does nothing but change the agent's shell, which
// another process can't, and starts no program.
func staysInShell(command string) bool {
	words := strings.Fields(command)
	if len(words) == 0 {
		return true
	}
	return slices.Contains([]string{"cd", "pushd", "popd", "export", "unset", "alias"}, words[0]) && !strings.ContainsAny(command, ";&|\n`$()<>")
}
