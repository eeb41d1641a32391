// Command kube-apiserver is the API server that the chart is tried against.
package main

import (
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"os"
)

func main() { os.Exit(cli.Run(app.NewAPIServerCommand())) }
