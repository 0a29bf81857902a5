// Which file the engine is.
package main

import (
	"os"
	"path/filepath"
	"strings"
)

// standsFor is the file of the program whose name the checker has been given.
func standsFor(config *Config) string {
	own, err := os.Executable()
	if err != nil {
		own = os.Args[0]
	}
	folder := filepath.Dir(own)
	for _, path := range config.Program.Paths {
		if file := filepath.Join(folder, path); isProgram(file) {
			return file
		}
	}
	return filepath.Join(folder, strings.Join(config.Program.Paths, " or "))
}

// lookUp finds a program as a shell does. Where that is the checker under another name, it is what the checker stands for.
func lookUp(config *Config, word string) string {
	if strings.Contains(word, "/") {
		return notSelf(config, word)
	}
	for _, folder := range filepath.SplitList(os.Getenv("PATH")) {
		if file := filepath.Join(folder, word); folder != "" && isProgram(file) {
			return notSelf(config, file)
		}
	}
	return word
}

func notSelf(config *Config, file string) string {
	own, err := os.Executable()
	if err != nil {
		return file
	}
	self, err := os.Stat(own)
	if err != nil {
		return file
	}
	if found, err := os.Stat(file); err == nil && os.SameFile(self, found) {
		return standsFor(config)
	}
	return file
}

func isProgram(file string) bool {
	state, err := os.Stat(file)
	return err == nil && !state.IsDir() && state.Mode()&0o111 != 0
}
