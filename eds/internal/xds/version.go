package xds

import (
	"encoding/hex"
	"strconv"
	"strings"
)

// A version is "REVISION-ENDPOINTS-DIGEST": of the encoding, which grows when the same
// endpoints are encoded to other bytes; how many endpoints the content has, without
// those that are leaving; and 64 bits of the content's SHA-256. Before there
// was a revision, the digest was all of it.
const (
	encodingRevision = "1"

	digestSize   = 16 // hex digits
	maxRevision  = 3  // digits
	maxEndpoints = 9  // digits
)

func makeVersion(endpoints int, digest string) string {
	return encodingRevision + "-" + strconv.Itoa(endpoints) + "-" + digest
}

// parseVersion reads the version that a client has. counted is false where it has no
// count: it is from a build without counts, or from another server.
func parseVersion(version string) (endpoints int, digest string, counted bool) {
	if len(version) > maxRevision+maxEndpoints+digestSize+2 {
		return 0, "", false
	}
	parts := strings.Split(version, "-")
	digest = parts[len(parts)-1]
	if b, err := hex.DecodeString(digest); err != nil || 2*len(b) != digestSize {
		return 0, "", false
	}
	if len(parts) != 3 || !isCount(parts[0], maxRevision) || !isCount(parts[1], maxEndpoints) {
		return 0, digest, false
	}
	endpoints, err := strconv.Atoi(parts[1])
	return endpoints, digest, err == nil
}

func isCount(s string, digits int) bool {
	return s != "" && len(s) <= digits && strings.Trim(s, "0123456789") == ""
}
