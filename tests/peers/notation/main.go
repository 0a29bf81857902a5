// Command notation signs and verifies with the Notary Project's own library, for tests that need its judgement.
//
//	notation sign KEY CHAIN REFERENCE [jws|cose] [EXPIRES-IN]
//	notation verify FOLDER REFERENCE
//
// A tag is resolved to a digest first, and what it names is then verified, as notation's command line does.
// Registries are spoken to over plain HTTP. FOLDER is a configuration folder of notation's, with trustpolicy.json and truststore/.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	_ "github.com/notaryproject/notation-core-go/signature/cose"
	_ "github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/dir"
	"github.com/notaryproject/notation-go/registry"
	"github.com/notaryproject/notation-go/signer"
	"github.com/notaryproject/notation-go/verifier"
	parsed "oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "notation:", err)
		os.Exit(1)
	}
}

func run(words []string) error {
	switch {
	case len(words) >= 4 && words[0] == "sign":
		return sign(words[1], words[2], words[3], words[4:])
	case len(words) == 3 && words[0] == "verify":
		return verify(words[1], words[2])
	}
	return errors.New("usage: notation sign KEY CHAIN REFERENCE [jws|cose] [EXPIRES-IN] | notation verify FOLDER REFERENCE")
}

func repository(reference string) (registry.Repository, error) {
	repository, err := remote.NewRepository(reference)
	if err != nil {
		return nil, err
	}
	repository.PlainHTTP = true
	return registry.NewRepository(repository), nil
}

func sign(key, chain, reference string, rest []string) error {
	target, err := repository(reference)
	if err != nil {
		return err
	}
	local, err := signer.NewGenericSignerFromFiles(key, chain)
	if err != nil {
		return err
	}
	options := notation.SignOptions{ArtifactReference: reference}
	options.SignatureMediaType = "application/jose+json"
	if len(rest) > 0 && rest[0] == "cose" {
		options.SignatureMediaType = "application/cose"
	}
	if len(rest) > 1 {
		if options.ExpiryDuration, err = time.ParseDuration(rest[1]); err != nil {
			return err
		}
	}
	signed, err := notation.Sign(context.Background(), local, target, options)
	if err != nil {
		return err
	}
	fmt.Println(signed.Digest)
	return nil
}

func verify(folder, reference string) error {
	dir.UserConfigDir = folder
	source, err := repository(reference)
	if err != nil {
		return err
	}
	judge, err := verifier.NewFromConfig()
	if err != nil {
		return err
	}
	place, err := parsed.ParseReference(reference)
	if err != nil {
		return err
	}
	named, err := source.Resolve(context.Background(), place.Reference)
	if err != nil {
		return err
	}
	place.Reference = named.Digest.String()
	options := notation.VerifyOptions{ArtifactReference: place.String(), MaxSignatureAttempts: 50}
	verified, outcomes, err := notation.Verify(context.Background(), judge, source, options)
	if err != nil {
		for _, outcome := range outcomes {
			err = errors.Join(err, outcome.Error)
		}
		return err
	}
	fmt.Println(verified.Digest)
	return nil
}
