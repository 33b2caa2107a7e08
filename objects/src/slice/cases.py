"""Writes cases.txt: what CPython says which indexes a slice means. Run it where a Python is: python3 cases.py > cases.txt"""

MOST, LEAST = 2**63 - 1, -(2**63)


def show(bound):
    return "-" if bound is None else str(bound)


def main():
    print("# len start stop step: the indexes of range(len)[start:stop:step]. Written by cases.py.")
    bounds = [None, LEAST, -5, -4, -1, 0, 2, 4, MOST]
    for length in (0, 1, 4):
        for start in bounds:
            for stop in bounds:
                for step in (None, LEAST, -2, -1, 2, MOST):
                    indexes = range(length)[start:stop:step]
                    print(length, show(start), show(stop), f"{show(step)}:", *indexes)


main()
