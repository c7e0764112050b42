def run(p, g, m, v, lr, decay, step):
    m_out = 0.9 * m + 0.1 * g
    v_out = 0.95 * v + 0.05 * g * g
    m_hat = m_out / (1 - 0.9**step)
    v_hat = v_out / (1 - 0.95**step)
    p_out = p * (1 - lr * decay) - lr * m_hat / (v_hat.sqrt() + 1e-8)
    return p_out, m_out, v_out
