// SPDX-License-Identifier: Apache-2.0

//go:build !windows

package config

// PlatformFile returns the configuration file that is read when none is named and this one is there.
func PlatformFile() string { return "/etc/nexus-engine/runtime.toml" }

// PlatformPolicies returns the policy folder that is read when the configuration names none.
func PlatformPolicies() string { return "/etc/nexus-engine/policies" }
