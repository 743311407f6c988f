package catraca;

import java.util.ArrayList;
import java.util.List;

/** Where to connect next: the configured addresses in turn, and what servers say of the primary. No socket here. */
final class Route {
    /** Addresses learned from WELCOME that are kept beside the configured ones. */
    static final int MAX_LEARNED = 4;
    private static final String STANDBY = "is a standby";

    private static final class Place {
        final String address;
        /** What it said last; empty where nothing is known. */
        String seen = "";
        /** Tried since the last pause. */
        boolean tried;

        Place(String address) {
            this.address = address;
        }
    }

    /** The configured ones first, then the learned ones, oldest first. */
    private final List<Place> places = new ArrayList<>();
    private final int configured;
    /**
     * Takes up addresses that servers name. They are of ports in clear, so that a client that
     * speaks TLS does not.
     */
    private final boolean learns;
    private int next;

    Route(List<String> addresses, boolean learns) {
        this.learns = learns;
        addresses.forEach(address -> places.add(new Place(address)));
        configured = addresses.size();
    }

    /** host:port, IPv6 in brackets. */
    static boolean isAddress(String text) {
        int colon = text.lastIndexOf(':');
        String host = colon < 0 ? "" : text.substring(0, colon);
        String port = text.substring(colon + 1);
        boolean bracketed = host.startsWith("[") && host.endsWith("]") && host.length() > 2;
        if (host.isEmpty() || host.indexOf(':') >= 0 && !bracketed || !port.matches("[0-9]{1,5}")) {
            return false;
        }
        int number = Integer.parseInt(port);
        return number > 0 && number < 65_536;
    }

    String address() {
        return places.get(next).address;
    }

    int size() {
        return places.size();
    }

    List<String> others() {
        return places.stream().filter(place -> place != places.get(next)).map(place -> place.address).toList();
    }

    boolean isExhausted() {
        return places.stream().allMatch(place -> place.tried);
    }

    /** A pause has passed: every address may be tried again. */
    void beginRound() {
        places.forEach(place -> place.tried = false);
    }

    /** The node here takes us. */
    void found() {
        places.forEach(place -> place.seen = "");
    }

    void foundAt(String address) {
        next = Math.max(indexOf(address), 0);
        found();
    }

    /** Nothing is to be had here now: the next one, if possible one that was not tried since the last pause. */
    void failed(String seen) {
        places.get(next).seen = seen;
        places.get(next).tried = true;
        int first = (next + 1) % places.size();
        next = first;
        for (int step = 0; step < places.size(); step++) {
            int at = (first + step) % places.size();
            if (!places.get(at).tried) {
                next = at;
                return;
            }
        }
    }

    /** The node here follows, and names this primary. True: that one is next, and was not tried since the last pause. */
    boolean standby(String primary) {
        failed(STANDBY);
        if (primary.isEmpty()) {
            return false;
        }
        int at = indexOf(primary);
        if (at < 0) {
            if (!learns) {
                return false;
            }
            if (places.size() == configured + MAX_LEARNED) {
                places.remove(configured);
            }
            places.add(new Place(primary));
            at = places.size() - 1;
        } else if (places.get(at).tried) {
            return false;
        }
        next = at;
        return true;
    }

    /** What the addresses said, where one of them is a standby; else empty. */
    String noPrimary() {
        if (places.stream().noneMatch(place -> place.seen.equals(STANDBY))) {
            return "";
        }
        List<String> said = places.stream().filter(place -> !place.seen.isEmpty())
                .map(place -> place.address + " " + place.seen).toList();
        return "no primary: " + String.join("; ", said);
    }

    private int indexOf(String address) {
        for (int at = 0; at < places.size(); at++) {
            if (places.get(at).address.equals(address)) {
                return at;
            }
        }
        return -1;
    }
}
