package catraca;

/** CPF and CNPJ: canonical form, and masked for print. */
public final class Document {
    private Document() {}

    /**
     * The canonical form of a CPF (11 digits) or CNPJ (14 characters), as people type it, with or without mask.
     *
     * @throws CatracaException.WrongDocument for what is none
     */
    public static String canonical(String text) {
        StringBuilder document = new StringBuilder(14);
        for (int c : text.strip().codePoints().toArray()) {
            if (c == '.' || c == '-' || c == '/' || c == ' ') {
                continue;
            }
            if (c == '*') {
                throw new CatracaException.WrongDocument("masked");
            }
            boolean digit = c >= '0' && c <= '9';
            boolean capital = c >= 'A' && c <= 'Z';
            boolean small = c >= 'a' && c <= 'z';
            if (!digit && !capital && !small) {
                throw new CatracaException.WrongDocument("character");
            }
            if (document.length() == 14) {
                throw new CatracaException.WrongDocument("length");
            }
            document.append((char) (small ? c - 'a' + 'A' : c));
        }
        String fault = fault(document);
        if (!fault.isEmpty()) {
            throw new CatracaException.WrongDocument(fault);
        }
        return document.toString();
    }

    /** A canonical document for print: a CPF without its outer digits, a CNPJ by its root; *** for what is neither. */
    public static String masked(String document) {
        return switch (document.length()) {
            case 11 -> "***." + document.substring(3, 6) + "." + document.substring(6, 9) + "-**";
            case 14 -> document.substring(0, 2) + "." + document.substring(2, 5) + "." + document.substring(5, 8) + "/****-**";
            default -> "***";
        };
    }

    /** What people typed, for print. */
    static String maskedText(String text) {
        try {
            return masked(canonical(text));
        } catch (CatracaException.WrongDocument none) {
            return "***";
        }
    }

    private static String fault(CharSequence document) {
        int size = document.length();
        if (size != 11 && size != 14) {
            return "length";
        }
        if (document.subSequence(size == 11 ? 0 : 12, size).chars().anyMatch(c -> c > '9')) {
            return "character";
        }
        char first = document.charAt(0);
        if (first <= '9' && document.chars().allMatch(c -> c == first)) {
            return "repeated_digit";
        }
        for (int place = size - 2; place < size; place++) {
            if (document.charAt(place) - '0' != checkDigit(document, place)) {
                return "check_digit";
            }
        }
        return "";
    }

    /** That of what stands before this place. Weights begin at 2 on the right; a CNPJ's run to 9 and begin again. */
    private static int checkDigit(CharSequence document, int place) {
        int sum = 0;
        for (int at = 0; at < place; at++) {
            int fromRight = place - 1 - at;
            sum += (document.charAt(at) - '0') * (2 + (document.length() == 11 ? fromRight : fromRight % 8));
        }
        return sum % 11 < 2 ? 0 : 11 - sum % 11;
    }
}
