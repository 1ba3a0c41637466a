"""What is known about one entry, as a card."""

import pandas as pd
import streamlit as st


def card(row: pd.Series) -> None:
    st.text(row.entry)
