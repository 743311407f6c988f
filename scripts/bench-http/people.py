"""Documents for the load of bench-http.sh. Usage: people.py LIST.csv PEOPLE LISTED

Writes CPFs that are not listed, and documents of the list, one a line, without points and strokes; a service that checks digits takes all.
"""

import random
import sys

# So many of each: enough that no cache of a processor holds what is looked up about them.
PEOPLE = 100_000


def check_digit(digits):
    rest = sum(digit * weight for digit, weight in zip(digits, range(len(digits) + 1, 1, -1))) * 10 % 11
    return rest % 10


def cpf(chance):
    digits = [chance.randrange(10) for _ in range(9)]
    for _ in range(2):
        digits.append(check_digit(digits))
    return "".join(map(str, digits))


def main():
    source, people_path, listed_path = sys.argv[1:]
    with open(source, encoding="utf-8") as lines:
        next(lines)
        listed = [line.split(",", 1)[0].translate(str.maketrans("", "", "./-")) for line in lines]
    chance, known, people = random.Random(7), set(listed), set()
    while len(people) < PEOPLE:
        document = cpf(chance)
        # One digit eleven times is no CPF, although its check digits are right.
        if document not in known and len(set(document)) > 1:
            people.add(document)
    for path, documents in ((people_path, sorted(people)), (listed_path, chance.sample(listed, min(PEOPLE, len(listed))))):
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(f"{document}\n" for document in documents)


if __name__ == "__main__":
    main()
