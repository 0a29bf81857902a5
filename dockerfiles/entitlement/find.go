// Where the token is, and the latest time that was seen here.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	tokenVariable = "NEXUS_ENTITLEMENT"
	fileVariable  = "NEXUS_ENTITLEMENT_FILE"
	stateVariable = "NEXUS_ENTITLEMENT_STATE"
	markFile      = "entitlement-time"
	markInterval  = 60 // seconds between two writes of the mark
)

// places are the files that may hold the token, the first one that is there counts. A file that was named has to be there.
func places(config *Config) (files []string, named bool) {
	if file := os.Getenv(fileVariable); file != "" {
		return []string{file}, true
	}
	if folder := os.Getenv("CREDENTIALS_DIRECTORY"); folder != "" {
		files = append(files, filepath.Join(folder, "entitlement"))
	}
	return append(files, "/run/secrets/entitlement", "/etc/"+config.Engine+"/entitlement.token"), false
}

// findToken returns the token; neither token nor refusal where there is none. What is in it is never told.
func findToken(config *Config) ([]byte, *Refusal) {
	if text := os.Getenv(tokenVariable); text != "" {
		return []byte(text), nil
	}
	files, named := places(config)
	for _, file := range files {
		data, err := readSmall(file, largest)
		if err == nil {
			return data, nil
		}
		if errors.Is(err, fs.ErrNotExist) && !named {
			continue
		}
		return nil, &Refusal{"unreadable", "the entitlement cannot be read", err.Error(),
			fmt.Sprintf("put the token there, and let the user that the engine runs as (%d) read it", os.Geteuid())}
	}
	return nil, nil
}

func missing(config *Config) *Refusal {
	files, _ := places(config)
	own := files[len(files)-1]
	return &Refusal{"missing", config.Engine + " needs an entitlement, and there is none",
		"looked for the variables " + tokenVariable + " and " + fileVariable + ", and for " + strings.Join(files, ", "),
		"put the token that the vendor sent into " + own + ", or name its file in " + fileVariable +
			"; on Kubernetes put it into a Secret and name that in the chart's entitlement.secretName"}
}

// readSmall reads a regular file. Its size is limited, and nothing waits: not for a pipe either.
func readSmall(name string, limit int64) ([]byte, error) {
	file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	state, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !state.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", name)
	}
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return data, err
}

// stateFolder is where the latest time seen is kept: the one that was named, systemd's, or the engine's own where it has one.
func stateFolder(config *Config) string {
	if folder := os.Getenv(stateVariable); folder != "" {
		return folder
	}
	if folder, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); folder != "" {
		return folder
	}
	state, err := os.Stat(config.State)
	if err != nil || !state.IsDir() {
		return ""
	}
	// The administrator who runs a command of the engine's writes nothing that its service could not write again.
	if owner, known := state.Sys().(*syscall.Stat_t); !known || int(owner.Uid) != os.Geteuid() {
		return ""
	}
	return config.State
}

// readMark returns the latest time that was seen; 0 where none was written down.
func readMark(folder string) int64 {
	if folder == "" {
		return 0
	}
	data, err := readSmall(filepath.Join(folder, markFile), 32)
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	mark, wrong := strconv.ParseInt(strings.TrimSuffix(string(data), "\n"), 10, 64)
	if err != nil || wrong != nil || !isTime(mark) {
		warn("%s is damaged; it is written anew", filepath.Join(folder, markFile))
		return 0
	}
	return mark
}

// writeMark writes down that a time was seen. The mark never goes back, and there is a whole file at every moment.
func writeMark(folder string, mark, now int64) {
	if folder == "" || now < mark+markInterval {
		return
	}
	err := func() error {
		file, err := os.CreateTemp(folder, "."+markFile+"-")
		if err != nil {
			return err
		}
		defer os.Remove(file.Name())
		_, err = file.WriteString(strconv.FormatInt(now, 10) + "\n")
		if err == nil {
			err = file.Sync()
		}
		if closing := file.Close(); err == nil {
			err = closing
		}
		if err != nil {
			return err
		}
		return os.Rename(file.Name(), filepath.Join(folder, markFile))
	}()
	if err != nil {
		warn("the time cannot be written down, so that a clock that is set back may go unnoticed: %v", err)
	}
}
