// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"nexus.example/engine/internal/api"
	"nexus.example/engine/internal/config"
)

func checkConfig(o *invocation, env environment) int {
	service := newService(o.config)
	if err := service.Load(); err != nil {
		return report(env, exitUsage, err)
	}
	table := tabwriter.NewWriter(env.out, 0, 0, 2, ' ', 0)
	for _, line := range o.config.Lines() {
		fmt.Fprintf(table, "%s\t%s\t%s\n", line.Key, line.Value, line.Origin)
	}
	_ = table.Flush()
	now := service.Readiness()
	fmt.Fprintf(env.out, "The configuration is valid. Policies: %d, %s, verified: %v.\n", now.Policies, now.Digest, now.Verified)
	return exitDone
}

func listPolicies(o *invocation, env environment) int {
	service := newService(o.config)
	if err := service.Load(); err != nil {
		return report(env, exitFailed, err)
	}
	if o.json {
		return printJSON(env, service.Policies())
	}
	table := tabwriter.NewWriter(env.out, 0, 0, 2, ' ', 0)
	for _, p := range service.Policies() {
		fmt.Fprintf(table, "%s\t%s\t%d rules\t%s\n", p.Name, p.Strategy, p.Rules, p.Digest)
	}
	_ = table.Flush()
	return exitDone
}

func evaluate(o *invocation, env environment) int {
	service := newService(o.config)
	if err := service.Load(); err != nil {
		return report(env, exitFailed, err)
	}
	source := env.in
	if o.input != "-" {
		file, err := os.Open(o.input)
		if err != nil {
			return report(env, exitFailed, err)
		}
		defer file.Close()
		source = file
	}
	input, err := io.ReadAll(source)
	if err != nil {
		return report(env, exitFailed, err)
	}
	decision, err := service.Evaluate(api.Request{Policy: o.policy, Input: input, Explain: o.explain})
	if err != nil {
		return report(env, exitFailed, err)
	}
	if code := printJSON(env, decision); code != exitDone {
		return code
	}
	if o.expect != "" && o.expect != string(decision.Effect) {
		return report(env, exitUnexpected, fmt.Errorf("the effect is %s; --expect says %s", decision.Effect, o.expect))
	}
	return exitDone
}

// health is what a container's healthcheck calls: the image has no shell and no curl.
func health(o *invocation, env environment) int {
	path := "/readyz"
	if o.live {
		path = "/healthz"
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	body, err := api.Probe(ctx, o.config, path)
	if body != "" {
		fmt.Fprintln(env.out, body)
	}
	if err != nil {
		return report(env, exitFailed, err)
	}
	return exitDone
}

func printSchema(_ *invocation, env environment) int {
	text, err := config.Schema()
	if err != nil {
		return report(env, exitFailed, err)
	}
	_, err = env.out.Write(text)
	if err != nil {
		return report(env, exitFailed, err)
	}
	return exitDone
}

func printJSON(env environment, value any) int {
	encoder := json.NewEncoder(env.out)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return report(env, exitFailed, err)
	}
	return exitDone
}
