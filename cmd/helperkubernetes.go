package cmd

import (
	"encoding/json"
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// kubernetesAPI begins every version of the protocol.
const kubernetesAPI = "client.authentication.k8s.io/"

func helperKubernetesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kubernetes [NAME]",
		Short: "Kubernetes ExecCredential, for kubectl and its like",
		Long: `Prints the token of the row of kind "kubernetes" for the "exec" of a kubeconfig's user,
with the time when its ttl ends. NAME is the row's name where there is more than one.`,
		Args: atMostOne,
		RunE: func(c *cobra.Command, args []string) error {
			version, err := kubernetesVersion(os.Getenv("KUBERNETES_EXEC_INFO"))
			if err != nil {
				return err
			}
			r, err := namedRow("kubernetes", args)
			if err != nil {
				return err
			}
			given, err := r.ask(c.Context())
			if err != nil {
				return err
			}
			defer given.wipe()
			status := []member{{key: "token", text: given.values["token"]}}
			if !given.until.IsZero() {
				status = append(status, member{key: "expirationTimestamp", text: []byte(timestamp(given.until))})
			}
			return object(member{key: "apiVersion", text: []byte(version)}, member{key: "kind", text: []byte("ExecCredential")}, member{key: "status", of: status})
		},
	}
}

// kubernetesVersion is the version of the protocol that the tool wants the answer in.
func kubernetesVersion(info string) (string, error) {
	var asked struct {
		APIVersion string `json:"apiVersion"`
	}
	if info == "" { // a person who tries it
		return kubernetesAPI + "v1", nil
	}
	if json.Unmarshal([]byte(info), &asked) != nil || !strings.HasPrefix(asked.APIVersion, kubernetesAPI) {
		return "", errors.New("KUBERNETES_EXEC_INFO is not what kubectl puts there")
	}
	switch version := strings.TrimPrefix(asked.APIVersion, kubernetesAPI); version {
	case "v1", "v1beta1":
		return asked.APIVersion, nil
	}
	return "", errors.New("the kubeconfig's apiVersion is one that keyrack does not know: write " + kubernetesAPI + "v1")
}
