package catraca

import "strings"

// DocumentError says why a text is no CPF or CNPJ. Nothing was sent.
type DocumentError struct {
	// Reason is length, character, check_digit, repeated_digit or masked.
	Reason string
}

func (e *DocumentError) Error() string {
	switch e.Reason {
	case "length":
		return "a document has 11 (CPF) or 14 (CNPJ) characters"
	case "character":
		return "a character that a document can't have in that place"
	case "check_digit":
		return "the check digits are wrong"
	case "repeated_digit":
		return "one digit repeated throughout is no document"
	}
	return "the document is masked"
}

// Recorded is RecordedNo.
func (e *DocumentError) Recorded() Recorded { return RecordedNo }

// CanonicalDocument gives the canonical form of a CPF (11 digits) or CNPJ (14 characters), as people type it, with or without
// mask; else a *DocumentError.
func CanonicalDocument(text string) (string, error) {
	var document []byte
	for _, c := range strings.TrimSpace(text) {
		switch {
		case c == '.' || c == '-' || c == '/' || c == ' ':
		case c == '*':
			return "", &DocumentError{"masked"}
		case '0' <= c && c <= '9' || 'A' <= c && c <= 'Z':
			document = append(document, byte(c))
		case 'a' <= c && c <= 'z':
			document = append(document, byte(c)-'a'+'A')
		default:
			return "", &DocumentError{"character"}
		}
		if len(document) > 14 {
			return "", &DocumentError{"length"}
		}
	}
	if fault := faultOf(document); fault != "" {
		return "", &DocumentError{fault}
	}
	return string(document), nil
}

// faultOf names what is wrong with digits and capital letters as a document, or nothing.
func faultOf(document []byte) string {
	size := len(document)
	if size != 11 && size != 14 {
		return "length"
	}
	digitsFrom := 0
	if size == 14 {
		digitsFrom = 12
	}
	for _, c := range document[digitsFrom:] {
		if c > '9' {
			return "character"
		}
	}
	if document[0] <= '9' && strings.Count(string(document), string(document[:1])) == size {
		return "repeated_digit"
	}
	for place := size - 2; place < size; place++ {
		if document[place] != '0'+checkDigit(document[:place], size == 11) {
			return "check_digit"
		}
	}
	return ""
}

// checkDigit is that of what stands before it. Weights begin at 2 on the right; a CNPJ's run to 9 and begin again.
func checkDigit(before []byte, cpf bool) byte {
	sum := 0
	for at, c := range before {
		weight := len(before) - 1 - at
		if !cpf {
			weight %= 8
		}
		sum += int(c-'0') * (weight + 2)
	}
	if sum%11 < 2 {
		return 0
	}
	return byte(11 - sum%11)
}

// MaskedDocument is a canonical document for print: a CPF without its outer digits, a CNPJ by its root; *** for what is neither.
func MaskedDocument(document string) string {
	switch len(document) {
	case 11:
		return "***." + document[3:6] + "." + document[6:9] + "-**"
	case 14:
		return document[:2] + "." + document[2:5] + "." + document[5:8] + "/****-**"
	}
	return "***"
}
