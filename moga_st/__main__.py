"""``python -m moga_st``, and so ``torchrun -m moga_st train RECIPE``."""

from moga_st.cli import main

if __name__ == "__main__":
    main()
